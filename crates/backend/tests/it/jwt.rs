//! Tokens that stand for the call of the API, and the keys of their issuers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use ht_backend::config::{BackendConfig, HeaderRule, HeaderSource};
use ht_backend::{
    Answer, Backend, Credentials, DenyCheck, ForwardRules, JwtBackend, JwtConfig, JwtIssuer,
    JwtUse, Permissions,
};
use ht_token::{Algorithm, Holder, Issuer, Key, Rules, Secret, sign};
use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::kit::{JSON, answer, backend, told};
use crate::stub::{Reply, Stub};

const SECRET: &[u8] = b"a secret of the API, of 32 bytes or more";

fn seconds() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

fn claims() -> Value {
    json!({
        "iss": "api", "sub": 7, "sid": "s1", "exp": seconds() + 600,
        "ht": {"allowed_rooms": [{"room": 1}], "labels": ["b", "a"]},
    })
}

fn signed(claims: &Value) -> String {
    sign(claims, Algorithm::Hs256, None, SECRET).unwrap()
}

/// The rule for bearer tokens of the parameter `token`.
fn rules() -> ForwardRules {
    ForwardRules::new(vec![HeaderRule {
        name: HeaderName::from_static("authorization"),
        source: HeaderSource::Param("token".into()),
        format: Some("Bearer {}".into()),
    }])
}

/// What a client with this token is forwarded with.
fn with(token: &str) -> Credentials {
    let query = format!("token={token}");
    rules()
        .apply(&http::HeaderMap::new(), Some(&query))
        .unwrap()
}

/// Revokes nothing, or the session `s1`.
struct Denied(AtomicBool);

impl DenyCheck for Denied {
    fn denies(&self, holder: Holder<'_>) -> bool {
        assert_eq!(holder.tenant, "acme");
        self.0.load(Ordering::SeqCst) && holder.session == Some("s1")
    }
}

struct World {
    api: Stub,
    denied: Arc<Denied>,
}

impl World {
    async fn new() -> Self {
        Self {
            api: Stub::tcp(|_| {
                let body = br#"{"allowed_rooms": ["api"], "user": {"id": 9}}"#;
                Reply::Send(answer(200, JSON, body))
            })
            .await,
            denied: Arc::new(Denied(AtomicBool::new(false))),
        }
    }

    fn backend(&self, usage: JwtUse, edit: impl FnOnce(&mut JwtConfig)) -> JwtBackend {
        let secret = Secret {
            id: None,
            key: Key::secret(SECRET).unwrap(),
            until: None,
        };
        let mut config = JwtConfig {
            usage,
            require: false,
            rules: Rules {
                claim: "ht".into(),
                user: "sub".into(),
                session: "sid".into(),
                max_life: Duration::from_secs(3600),
                leeway: Duration::from_secs(30),
            },
            issuers: vec![JwtIssuer {
                issuer: Issuer {
                    iss: "api".into(),
                    audience: Box::default(),
                    algorithms: [Algorithm::Hs256].into(),
                    kind: None,
                    secrets: [secret].into(),
                    keys: None,
                    has_key_set: false,
                },
                key_set: None,
                timeout: Duration::from_secs(5),
                tls_ca_file: None,
            }],
        };
        edit(&mut config);
        let inner = Arc::new(backend(&self.api, |_: &mut BackendConfig| {}));
        let denied: Arc<dyn DenyCheck> = Arc::<Denied>::clone(&self.denied);
        JwtBackend::new(inner, config, rules(), ("acme", denied)).unwrap()
    }

    fn calls(&self) -> usize {
        self.api.log().requests.len()
    }
}

async fn permissions(backend: &JwtBackend, token: &str) -> Permissions {
    match backend.bootstrap(&with(token)).await {
        Answer::Admitted(permissions) => permissions,
        other @ (Answer::Refused(_) | Answer::Failed(_)) => panic!("admitted, not {other:?}"),
    }
}

async fn ask(backend: &JwtBackend, token: &str) -> Result<String, String> {
    told(backend.bootstrap(&with(token)).await)
}

const REFUSED: &str = "refused: token";

#[tokio::test]
async fn a_token_stands_for_the_answer_of_the_api() {
    let world = World::new().await;
    let backend = world.backend(JwtUse::Instead, |_| {});
    let permissions = permissions(&backend, &signed(&claims())).await;
    assert_eq!(&permissions.allowed_rooms[..], br#"[{"room":1}]"#);
    assert_eq!(permissions.user_id.as_deref(), Some("7"));
    assert_eq!(permissions.session.as_deref(), Some("s1"));
    assert_eq!(*permissions.labels, ["a".into(), "b".into()]);
    let term = permissions.expires_in.unwrap().as_secs();
    assert!((590..=600).contains(&term), "{term}");
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn a_client_without_a_token_is_asked_about_unless_one_is_required() {
    let world = World::new().await;
    let backend = world.backend(JwtUse::Instead, |_| {});
    let found = told(backend.bootstrap(&Credentials::default()).await);
    assert_eq!(found.as_deref(), Ok(r#"["api"]"#));
    let strict = world.backend(JwtUse::Instead, |config| config.require = true);
    let found = told(strict.bootstrap(&Credentials::default()).await);
    assert_eq!(found, Err(REFUSED.into()));
    assert_eq!(world.calls(), 1);
}

#[tokio::test]
async fn the_api_is_asked_only_about_valid_tokens_if_they_come_first() {
    let world = World::new().await;
    let backend = world.backend(JwtUse::First, |_| {});
    let mut late = claims();
    late["exp"] = (seconds() - 60).into();
    for token in [signed(&late), "x.y.z".into(), signed(&claims()) + "A"] {
        assert_eq!(ask(&backend, &token).await, Err(REFUSED.into()));
    }
    let found = told(backend.bootstrap(&Credentials::default()).await);
    assert_eq!(found, Err(REFUSED.into()));
    assert_eq!(world.calls(), 0);

    let permissions = permissions(&backend, &signed(&claims())).await;
    assert_eq!(&permissions.allowed_rooms[..], br#"["api"]"#);
    assert_eq!(permissions.user_id.as_deref(), Some("9"));
    assert!(permissions.expires_in.unwrap() <= Duration::from_secs(600));
}

#[tokio::test]
async fn wrong_claims_refuse() {
    let world = World::new().await;
    let backend = world.backend(JwtUse::Instead, |_| {});
    for (ht, is_valid) in [
        (json!({"allowed_rooms": []}), true),
        (json!({}), true),
        (Value::Null, true),
        (json!({"allowed_rooms": [{"a": 1}], "expires_in": 5}), true),
        (json!([]), false),
        (json!("x"), false),
        (json!({"allowed_rooms": {}}), false),
        (json!({"view": 7}), false),
        (json!({"labels": "a"}), false),
        (json!({"session": 7}), false),
        (json!({"expires_in": -1}), false),
    ] {
        let mut claims = claims();
        claims["ht"] = ht.clone();
        let found = ask(&backend, &signed(&claims)).await;
        assert_eq!(found.is_ok(), is_valid, "{ht}: {found:?}");
    }
    assert_eq!(world.calls(), 0);
}

#[tokio::test]
async fn a_revoked_token_is_refused_although_it_was_verified_before() {
    let world = World::new().await;
    let backend = world.backend(JwtUse::Instead, |_| {});
    let token = signed(&claims());
    assert!(ask(&backend, &token).await.is_ok());
    world.denied.0.store(true, Ordering::SeqCst);
    assert_eq!(ask(&backend, &token).await, Err(REFUSED.into()));
}

/// An issuer with public keys.
struct Login {
    server: Stub,
    keys: Arc<Mutex<Vec<Value>>>,
    is_down: Arc<AtomicBool>,
    fetches: Arc<AtomicUsize>,
}

impl Login {
    async fn new() -> Self {
        let keys: Arc<Mutex<Vec<Value>>> = Arc::default();
        let is_down = Arc::new(AtomicBool::new(false));
        let fetches = Arc::new(AtomicUsize::new(0));
        let (set, down, count) = (keys.clone(), is_down.clone(), fetches.clone());
        let server = Stub::tcp(move |seen| {
            assert_eq!(seen.target, "/.well-known/jwks.json?v=1");
            count.fetch_add(1, Ordering::SeqCst);
            if down.load(Ordering::SeqCst) {
                return Reply::Send(answer(503, "", b""));
            }
            let set = json!({"keys": *set.lock().unwrap()}).to_string();
            Reply::Send(answer(200, JSON, set.as_bytes()))
        })
        .await;
        Self {
            server,
            keys,
            is_down,
            fetches,
        }
    }

    fn publish(&self, keys: &[&Pair]) {
        *self.keys.lock().unwrap() = keys.iter().map(|pair| pair.jwk()).collect();
    }

    fn backend(&self, world: &World) -> JwtBackend {
        world.backend(JwtUse::Instead, |config| {
            let one = &mut config.issuers[0];
            one.issuer.iss = "login".into();
            one.issuer.algorithms = [Algorithm::EdDsa].into();
            one.issuer.secrets = Box::default();
            one.issuer.has_key_set = true;
            one.key_set = Some(format!("{}.well-known/jwks.json?v=1", self.server.url));
        })
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

struct Pair(&'static str, Ed25519KeyPair);

impl Pair {
    fn new(id: &'static str) -> Self {
        Self(id, Ed25519KeyPair::generate().unwrap())
    }

    fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.1.public_key());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": self.0, "x": x})
    }

    fn token(&self, user: usize) -> String {
        self.token_with_id(user, self.0)
    }

    fn token_with_id(&self, user: usize, id: &str) -> String {
        let header = json!({"alg": "EdDSA", "kid": id});
        let claims = json!({"iss": "login", "sub": user, "exp": seconds() + 600});
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = self.1.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[tokio::test]
async fn keys_are_fetched_once_for_all_clients_that_need_them() {
    let (world, login) = (World::new().await, Login::new().await);
    let (old, new) = (Pair::new("old"), Pair::new("new"));
    login.publish(&[&old]);
    let backend = login.backend(&world);
    backend.refresh_keys().await;
    let visit_all = async |pair: &Pair| {
        let visits = (0..100).map(|user| {
            let token = pair.token(user);
            let backend = &backend;
            async move { ask(backend, &token).await }
        });
        join_all(visits).await
    };
    assert!(visit_all(&old).await.iter().all(Result::is_ok));
    assert_eq!(login.fetches(), 1);

    // Rotated: those with the new key have it fetched, the others are admitted as before.
    login.publish(&[&old, &new]);
    assert!(visit_all(&old).await.iter().all(Result::is_ok));
    assert_eq!(login.fetches(), 1);
    assert!(visit_all(&new).await.iter().all(Result::is_ok));
    assert_eq!(login.fetches(), 2);
}

#[tokio::test]
async fn a_key_that_left_the_set_ends_at_the_next_refresh() {
    let (world, login) = (World::new().await, Login::new().await);
    let (old, new) = (Pair::new("old"), Pair::new("new"));
    login.publish(&[&old]);
    let backend = login.backend(&world);
    let token = old.token(1);
    assert!(ask(&backend, &token).await.is_ok());
    login.publish(&[&new]);
    backend.refresh_keys().await;
    assert_eq!(ask(&backend, &token).await, Err(REFUSED.into()));
    assert!(ask(&backend, &new.token(1)).await.is_ok());
    let states = backend.keys();
    assert_eq!(states[0].ids.as_deref(), Some(&["new".into()][..]));
}

#[tokio::test]
async fn random_key_ids_cost_one_fetch() {
    let (world, login) = (World::new().await, Login::new().await);
    let known = Pair::new("known");
    login.publish(&[&known]);
    let backend = login.backend(&world);
    backend.refresh_keys().await;
    for number in 0..200 {
        let token = known.token_with_id(1, &format!("random-{number}"));
        assert_eq!(ask(&backend, &token).await, Err(REFUSED.into()));
    }
    assert_eq!(login.fetches(), 2);
    assert!(ask(&backend, &known.token(1)).await.is_ok());
}

#[tokio::test]
async fn known_keys_work_while_their_address_does_not_respond() {
    let (world, login) = (World::new().await, Login::new().await);
    let (old, new) = (Pair::new("old"), Pair::new("new"));
    login.publish(&[&old]);
    let backend = login.backend(&world);
    backend.refresh_keys().await;
    login.is_down.store(true, Ordering::SeqCst);
    backend.refresh_keys().await;
    assert!(backend.keys()[0].failure.is_some());
    assert!(ask(&backend, &old.token(1)).await.is_ok());
    // Nobody knows whether this one is valid: the client may retry.
    let found = ask(&backend, &new.token(1)).await;
    assert_eq!(found, Err("failed: keys".into()));
    let fetches = login.fetches();
    assert_eq!(
        ask(&backend, &new.token(2)).await,
        Err("failed: keys".into())
    );
    assert_eq!(login.fetches(), fetches);
}

#[tokio::test]
async fn rubbish_is_no_set_of_keys() {
    let world = World::new().await;
    let huge = vec![b' '; 300 * 1024];
    for body in [&b"<html>"[..], b"{}", br#"{"keys": []}"#, &huge] {
        let body = body.to_vec();
        let server = Stub::tcp(move |_| Reply::Send(answer(200, JSON, &body))).await;
        let backend = world.backend(JwtUse::Instead, |config| {
            config.issuers[0].issuer.has_key_set = true;
            config.issuers[0].issuer.algorithms = [Algorithm::EdDsa].into();
            config.issuers[0].key_set = Some(server.url.clone());
        });
        backend.refresh_keys().await;
        let state = &backend.keys()[0];
        assert!(state.failure.is_some() && state.ids.is_none(), "{state:?}");
    }
}

#[tokio::test]
async fn the_prefix_of_the_header_is_no_part_of_the_token() {
    let credentials = with("abc");
    let value = HeaderValue::from_static("Bearer abc");
    assert_eq!(credentials.headers()["authorization"], value);
    assert_eq!(rules().token(&credentials), Some(&b"abc"[..]));
    assert_eq!(rules().token(&Credentials::default()), None);
}
