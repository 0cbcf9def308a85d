//! Tokens of every algorithm, forged ones, and the vectors of the standards.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsBigEndian as _, EcPublicKeyUncompressedBin};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::issuer::Secret;
use crate::key::Key;
use crate::sign::sign;

const NOW: Duration = Duration::from_secs(1_800_000_000);
const SECRET: &[u8] = b"a secret of the API, of 32 bytes or more";

static RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
static P256: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
static ED25519: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().unwrap());

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa_jwk() -> Value {
    let key = RSA.public_key();
    let (n, e) = (key.modulus(), key.exponent());
    let n = n.big_endian_without_leading_zero();
    let e = e.big_endian_without_leading_zero();
    json!({"kty": "RSA", "kid": "rsa", "n": base64(n), "e": base64(e)})
}

fn p256_jwk() -> Value {
    let point: EcPublicKeyUncompressedBin<'_> = P256.public_key().as_be_bytes().unwrap();
    let point = point.as_ref();
    let (x, y) = (base64(&point[1..33]), base64(&point[33..]));
    json!({"kty": "EC", "kid": "ec", "crv": "P-256", "x": x, "y": y})
}

fn ed25519_jwk() -> Value {
    let x = base64(ED25519.public_key());
    json!({"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": x})
}

fn issuer(iss: &str, algorithms: &[Algorithm], keys: Option<&[Value]>) -> Issuer {
    let set = |keys: &[Value]| {
        let text = json!({"keys": keys}).to_string();
        Arc::new(KeySet::parse(text.as_bytes()).unwrap().0)
    };
    Issuer {
        iss: iss.into(),
        audience: Box::default(),
        algorithms: algorithms.into(),
        kind: None,
        secrets: Box::default(),
        keys: keys.map(set),
        has_key_set: true,
    }
}

fn verifier(issuers: Vec<Issuer>) -> Verifier {
    let rules = Rules {
        claim: "ht".into(),
        user: "sub".into(),
        session: "sid".into(),
        max_life: Duration::from_secs(3600),
        leeway: Duration::from_secs(30),
    };
    Verifier::new(rules, issuers)
}

/// An issuer of public keys, and one with a secret.
fn both() -> Verifier {
    let public = [
        Algorithm::Rs256,
        Algorithm::Ps256,
        Algorithm::Es256,
        Algorithm::EdDsa,
    ];
    let login = issuer(
        "login",
        &public,
        Some(&[rsa_jwk(), p256_jwk(), ed25519_jwk()]),
    );
    let secret = Secret {
        id: None,
        key: Key::secret(SECRET).unwrap(),
        until: None,
    };
    let mut api = issuer("api", &[Algorithm::Hs256], None);
    api.secrets = [secret].into();
    api.has_key_set = false;
    verifier(vec![login, api])
}

fn claims(iss: &str) -> Value {
    json!({"iss": iss, "sub": "7", "exp": NOW.as_secs() + 60})
}

/// A token with this header, signed by the key that `sign` uses.
fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!(
        "{}.{}",
        base64(header.to_string()),
        base64(claims.to_string())
    );
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", base64(signature))
}

fn by_rsa(message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; RSA.public_modulus_len()];
    let random = SystemRandom::new();
    RSA.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
        .unwrap();
    signature
}

fn by_pss(message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; RSA.public_modulus_len()];
    let random = SystemRandom::new();
    RSA.sign(&RSA_PSS_SHA256, &random, message, &mut signature)
        .unwrap();
    signature
}

fn by_p256(message: &[u8]) -> Vec<u8> {
    let signature = P256.sign(&SystemRandom::new(), message).unwrap();
    signature.as_ref().to_vec()
}

fn by_ed25519(message: &[u8]) -> Vec<u8> {
    ED25519.sign(message).as_ref().to_vec()
}

fn by_secret(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    move |message| crypto::tag(secret, Algorithm::Hs256, message).unwrap()
}

fn reason(verifier: &Verifier, token: &str) -> Reason {
    verifier.verify(token, NOW).unwrap_err().reason
}

#[test]
fn tokens_of_every_algorithm_are_verified() {
    let verifier = both();
    let login = claims("login");
    let tokens = [
        token(&json!({"alg": "RS256", "kid": "rsa"}), &login, by_rsa),
        token(&json!({"alg": "PS256", "kid": "rsa"}), &login, by_pss),
        token(&json!({"alg": "ES256", "kid": "ec"}), &login, by_p256),
        token(&json!({"alg": "EdDSA", "kid": "ed"}), &login, by_ed25519),
        token(&json!({"alg": "EdDSA"}), &login, by_ed25519),
        sign(&claims("api"), Algorithm::Hs256, None, SECRET).unwrap(),
    ];
    for token in &tokens {
        let verified = verifier.verify(token, NOW).unwrap();
        assert_eq!(verified.claims.user.as_deref(), Some("7"));
    }
    // Any other character of any part makes it another token.
    for token in &tokens {
        for (index, old) in token.char_indices().step_by(7) {
            let new = if old == 'A' { "B" } else { "A" };
            let mut forged = token.clone();
            forged.replace_range(index..=index, new);
            assert!(verifier.verify(&forged, NOW).is_err(), "{token} at {index}");
        }
    }
}

#[test]
fn confused_algorithms_are_refused() {
    let verifier = both();
    let n = URL_SAFE_NO_PAD
        .decode(rsa_jwk()["n"].as_str().unwrap())
        .unwrap();
    let unsigned = |_: &[u8]| Vec::new();
    for (name, header, iss, signer, expected) in [
        (
            "none",
            json!({"alg": "none"}),
            "login",
            Box::new(unsigned) as Box<dyn Fn(&[u8]) -> Vec<u8>>,
            Reason::Algorithm,
        ),
        (
            "NONE",
            json!({"alg": "NONE"}),
            "api",
            Box::new(unsigned),
            Reason::Algorithm,
        ),
        (
            "no alg",
            json!({}),
            "api",
            Box::new(unsigned),
            Reason::Malformed,
        ),
        // The public key as if it were a secret.
        (
            "HS256 by the modulus",
            json!({"alg": "HS256", "kid": "rsa"}),
            "login",
            Box::new(by_secret(&n)),
            Reason::Algorithm,
        ),
        (
            "RS256 at HS256",
            json!({"alg": "RS256"}),
            "api",
            Box::new(by_rsa),
            Reason::Algorithm,
        ),
        (
            "empty signature",
            json!({"alg": "HS256"}),
            "api",
            Box::new(unsigned),
            Reason::Signature,
        ),
        (
            "an algorithm that the issuer does not have",
            json!({"alg": "RS384", "kid": "rsa"}),
            "login",
            Box::new(by_rsa),
            Reason::Algorithm,
        ),
        (
            "a key of another type",
            json!({"alg": "ES256", "kid": "rsa"}),
            "login",
            Box::new(by_p256),
            Reason::Key,
        ),
        (
            "a signature of another key",
            json!({"alg": "RS256", "kid": "rsa"}),
            "login",
            Box::new(by_pss),
            Reason::Signature,
        ),
        (
            "crit",
            json!({"alg": "HS256", "crit": ["exp"]}),
            "api",
            Box::new(by_secret(SECRET)),
            Reason::Critical,
        ),
        (
            "b64",
            json!({"alg": "HS256", "b64": false}),
            "api",
            Box::new(by_secret(SECRET)),
            Reason::Critical,
        ),
    ] {
        let token = token(&header, &claims(iss), signer);
        assert_eq!(reason(&verifier, &token), expected, "{name}");
    }
}

#[test]
fn a_key_in_the_token_is_never_used() {
    let verifier = both();
    let own = Ed25519KeyPair::generate().unwrap();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": base64(own.public_key())});
    for member in ["jwk", "jku", "x5u", "x5c"] {
        let mut header = json!({"alg": "EdDSA"});
        header[member] = match member {
            "jwk" => jwk.clone(),
            _ => json!("https://attacker.example/keys"),
        };
        let sign = |message: &[u8]| own.sign(message).as_ref().to_vec();
        let forged = token(&header, &claims("login"), sign);
        assert_eq!(reason(&verifier, &forged), Reason::Signature, "{member}");
        // In a token that is signed properly it is ignored.
        let good = token(&header, &claims("login"), by_ed25519);
        assert!(verifier.verify(&good, NOW).is_ok(), "{member}");
    }
}

#[test]
fn keys_of_two_issuers_are_never_mixed() {
    let algorithms = [Algorithm::EdDsa];
    let other = Ed25519KeyPair::generate().unwrap();
    let mut others = ed25519_jwk();
    others["x"] = base64(other.public_key()).into();
    let verifier = verifier(vec![
        issuer("a", &algorithms, Some(&[ed25519_jwk()])),
        issuer("b", &algorithms, Some(&[others])),
    ]);
    let header = json!({"alg": "EdDSA", "kid": "ed"});
    let signed_by_a = |iss| token(&header, &claims(iss), by_ed25519);
    assert_eq!(verifier.verify(&signed_by_a("a"), NOW).unwrap().issuer, 0);
    assert_eq!(reason(&verifier, &signed_by_a("b")), Reason::Signature);
    for iss in ["A", "a/", "", "c"] {
        assert_eq!(
            reason(&verifier, &signed_by_a(iss)),
            Reason::Issuer,
            "{iss}"
        );
    }
    for iss in [json!(null), json!(1), json!(["a"])] {
        let mut claims = claims("a");
        claims["iss"] = iss;
        let token = token(&header, &claims, by_ed25519);
        assert_eq!(reason(&verifier, &token), Reason::Issuer);
    }
}

#[test]
fn an_unknown_key_may_be_a_new_one() {
    let header = json!({"alg": "EdDSA", "kid": "new"});
    let token = token(&header, &claims("login"), by_ed25519);
    let refused = both().verify(&token, NOW).unwrap_err();
    assert_eq!(refused.reason, Reason::Key);
    assert_eq!(refused.issuer, Some(0));
    assert_eq!(refused.key_id.as_deref(), Some("new"));
    assert!(refused.may_be_new);

    let mut jwk = ed25519_jwk();
    jwk["kid"] = "new".into();
    let set = json!({"keys": [jwk]}).to_string();
    let (set, _) = KeySet::parse(set.as_bytes()).unwrap();
    let rotated = both().with_keys(0, Arc::new(set));
    assert!(rotated.verify(&token, NOW).is_ok());

    // Nothing was fetched yet.
    let empty = verifier(vec![issuer("login", &[Algorithm::EdDsa], None)]);
    let refused = empty.verify(&token, NOW).unwrap_err();
    assert_eq!((refused.reason, refused.may_be_new), (Reason::NoKeys, true));
}

#[test]
fn a_former_secret_ends() {
    let mut api = issuer("api", &[Algorithm::Hs256], None);
    let secret = |id: Option<&str>, bytes: &[u8], until| Secret {
        id: id.map(Into::into),
        key: Key::secret(bytes).unwrap(),
        until,
    };
    let old = b"the secret of last year, 32 bytes or more";
    api.secrets = [
        secret(Some("new"), SECRET, None),
        secret(Some("old"), old, Some(NOW)),
    ]
    .into();
    let verifier = verifier(vec![api]);
    let token = |id, secret| sign(&claims("api"), Algorithm::Hs256, id, secret).unwrap();
    let before = NOW - Duration::from_secs(1);
    for token in [token(Some("old"), old), token(None, old)] {
        assert!(verifier.verify(&token, before).is_ok());
        assert!(verifier.verify(&token, NOW).is_err());
    }
    assert!(verifier.verify(&token(None, SECRET), NOW).is_ok());
    // The id of another key.
    assert_eq!(
        reason(&verifier, &token(Some("new"), old)),
        Reason::Signature
    );
    assert_eq!(
        reason(&verifier, &token(Some("other"), SECRET)),
        Reason::Key
    );
}

#[test]
fn a_type_can_be_demanded() {
    let mut api = both().issuers()[1].clone();
    api.kind = Some("at+jwt".into());
    let verifier = verifier(vec![api]);
    for (header, is_valid) in [
        (json!({"alg": "HS256", "typ": "at+jwt"}), true),
        (json!({"alg": "HS256", "typ": "application/AT+JWT"}), true),
        (json!({"alg": "HS256", "typ": "JWT"}), false),
        (json!({"alg": "HS256"}), false),
    ] {
        let token = token(&header, &claims("api"), by_secret(SECRET));
        assert_eq!(verifier.verify(&token, NOW).is_ok(), is_valid, "{header}");
    }
}

/// Vectors of RFC 7515 appendix A and RFC 8037 appendix A.4.
#[test]
fn published_vectors_are_verified() {
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let secret = bytes(
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    );
    let x = bytes("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
    let y = bytes("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
    let n = bytes(concat!(
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-",
        "SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-",
        "UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2et",
        "hFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    ));
    let ed = bytes("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    let payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    for (algorithm, key, signed, signature) in [
        (
            Algorithm::Hs256,
            Key::secret(&secret).unwrap(),
            format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{payload}"),
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned(),
        ),
        (
            Algorithm::Rs256,
            Key::rsa(&n, &[1, 0, 1]).unwrap(),
            format!("eyJhbGciOiJSUzI1NiJ9.{payload}"),
            concat!(
                "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds",
                "9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZR",
                "mB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs9",
                "8rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
            )
            .to_owned(),
        ),
        (
            Algorithm::Es256,
            Key::p256(&x, &y).unwrap(),
            format!("eyJhbGciOiJFUzI1NiJ9.{payload}"),
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q".to_owned(),
        ),
        (
            Algorithm::EdDsa,
            Key::ed25519(&ed).unwrap(),
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".to_owned(),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg".to_owned(),
        ),
    ] {
        let signature = bytes(&signature);
        assert!(
            crypto::verify(&key, algorithm, signed.as_bytes(), &signature),
            "{algorithm:?}"
        );
        let other = signed.replace('e', "f");
        assert!(!crypto::verify(&key, algorithm, other.as_bytes(), &signature));
    }
}
