//! Understanding a bootstrap answer: its content type and the few members that are read.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use ht_proto::mark::without_mark;
use ht_proto::object::{Members, members};
use ht_proto::who::{self, WhoError};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::answer::{Answer, Failure, Permissions, Refusal};

/// The rooms of a response without `allowed_rooms`.
const NO_ROOMS: Bytes = Bytes::from_static(b"[]");

/// Longest content type shown to the operator, in characters.
const SHOWN_CHARS_MAX: usize = 100;

/// Checks that the content type of a response is JSON: `application/json` or `application/*+json`,
/// any case, with or without parameters.
pub(crate) fn check_content_type(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Err(Failure::ContentType(None));
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    let essence = text.split(';').next().unwrap_or_default().trim();
    if is_json(&essence.to_ascii_lowercase()) {
        return Ok(());
    }
    let shown = essence.chars().take(SHOWN_CHARS_MAX).collect();
    Err(Failure::ContentType(Some(shown)))
}

/// Whether a media type in lower case denotes JSON.
fn is_json(essence: &str) -> bool {
    match essence.strip_prefix("application/") {
        Some("json") => true,
        Some(subtype) => subtype.len() > "+json".len() && subtype.ends_with("+json"),
        None => false,
    }
}

/// The members of an answer that are read, beside the one that leads to the user's id.
const MEMBERS: [&str; 5] = ["allowed_rooms", "session", "labels", "view", "expires_in"];

/// Reads a decoded body of status 200. `allowed_rooms` is a slice of it; of several members with
/// one name the last counts.
pub(crate) fn answer(body: &Bytes, user_id_path: &[String]) -> Answer {
    let found = match read(body, user_id_path) {
        Ok(found) => found,
        Err(failure) => return Answer::Failed(failure),
    };
    match permissions(body, &found) {
        Ok(permissions) => Answer::Admitted(permissions),
        Err(refusal) => Answer::Refused(refusal),
    }
}

/// Members of a response, as JSON texts.
struct Found<'a> {
    rooms: Option<&'a str>,
    session: Option<&'a str>,
    labels: Option<&'a str>,
    view: Option<&'a str>,
    expires_in: Option<&'a str>,
    user_id: Option<Box<str>>,
}

fn read<'a>(body: &'a Bytes, user_id_path: &[String]) -> Result<Found<'a>, Failure> {
    // A byte order mark, as some frameworks write it, is passed over.
    let text = without_mark(body).ok_or(Failure::NotUtf8)?;
    let text = std::str::from_utf8(text).map_err(|_| Failure::NotUtf8)?;
    let first = user_id_path.first().map_or("", |key| key);
    let [rooms, session, labels, view, expires_in] = MEMBERS;
    let names = [rooms, session, labels, view, expires_in, first];
    let found = members(text, &names).map_err(|error| Failure::NotJson {
        // Its own words may quote the body.
        line: error.line(),
        column: error.column(),
    })?;
    let Members::Object(found) = found else {
        return Err(Failure::NotObject);
    };
    // The path may begin with one of the others, which then has the value.
    let own = names.iter().position(|name| *name == first);
    let user = own.and_then(|index| found[index]);
    let [rooms, session, labels, view, expires_in, _] = found;
    Ok(Found {
        rooms,
        session,
        labels,
        view,
        expires_in,
        user_id: match user_id_path {
            [] => None,
            [_, rest @ ..] => user.and_then(|user| user_id(user, rest)),
        },
    })
}

/// What the response grants. A wrong `session` or `labels` counts as absent: commands will not
/// match the client by it. A wrong `view` or `expires_in` refuses, because it was to restrict the
/// client.
fn permissions(body: &Bytes, found: &Found<'_>) -> Result<Permissions, Refusal> {
    let allowed_rooms = match found.rooms {
        None => NO_ROOMS,
        Some(rooms) if rooms.starts_with('[') => body.slice_ref(rooms.as_bytes()),
        Some(_) => return Err(Refusal::AllowedRooms),
    };
    let mut ignored = Vec::new();
    let session = lenient(found.session.map(who::session), &mut ignored);
    let labels = lenient(found.labels.map(who::labels), &mut ignored);
    Ok(Permissions {
        asked_at: None,
        allowed_rooms,
        user_id: found.user_id.clone(),
        session,
        labels,
        view: strict(found.view.map(who::view))?,
        expires_in: strict(found.expires_in.map(who::expires_in))?,
        ignored,
    })
}

fn lenient<T: Default>(found: Option<Result<T, WhoError>>, ignored: &mut Vec<WhoError>) -> T {
    let found = found.unwrap_or_else(|| Ok(T::default()));
    found.unwrap_or_else(|error| {
        ignored.push(error);
        T::default()
    })
}

fn strict<T: Default>(found: Option<Result<T, WhoError>>) -> Result<T, Refusal> {
    let found = found.unwrap_or_else(|| Ok(T::default()));
    found.map_err(Refusal::InvalidMember)
}

/// Walks the rest of the path; a string or a number at its end is the user's id.
fn user_id(mut json: &str, path: &[String]) -> Option<Box<str>> {
    for key in path {
        let Members::Object([Some(member)]) = members(json, &[key.as_str()]).ok()? else {
            return None;
        };
        json = member;
    }
    who::user(json)
}
