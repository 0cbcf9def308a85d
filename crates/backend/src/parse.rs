//! Understanding a bootstrap answer: its content type and the few members that are read.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use ht_proto::mark::without_mark;
use ht_proto::object::{Members, members};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::answer::{Answer, Failure, Permissions, Refusal};

/// The rooms of an answer that names none.
const NO_ROOMS: Bytes = Bytes::from_static(b"[]");

/// Longest content type shown to the operator, in characters.
const SHOWN_CHARS_MAX: usize = 100;

/// Checks that an answer says it is JSON: `application/json` or `application/*+json`, any case,
/// with or without parameters.
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

/// Whether a media type in lower case stands for JSON.
fn is_json(essence: &str) -> bool {
    match essence.strip_prefix("application/") {
        Some("json") => true,
        Some(subtype) => subtype.len() > "+json".len() && subtype.ends_with("+json"),
        None => false,
    }
}

/// Reads a decoded body of status 200. `allowed_rooms` is a slice of it; of several members with
/// one name the last counts.
pub(crate) fn answer(body: &Bytes, user_id_path: &[String]) -> Answer {
    match permissions(body, user_id_path) {
        Ok(Some(admission)) => Answer::Admitted(admission),
        Ok(None) => Answer::Refused(Refusal::AllowedRooms),
        Err(failure) => Answer::Failed(failure),
    }
}

/// The admission, `None` when `allowed_rooms` is not a list.
fn permissions(body: &Bytes, user_id_path: &[String]) -> Result<Option<Permissions>, Failure> {
    // A byte order mark, as some frameworks write it, is passed over.
    let text = without_mark(body).ok_or(Failure::NotUtf8)?;
    let text = std::str::from_utf8(text).map_err(|_| Failure::NotUtf8)?;
    // Were both the same, neither would hold a user's id: a list is none.
    let wanted = ["allowed_rooms", user_id_path.first().map_or("", |key| key)];
    let found = members(text, &wanted).map_err(|error| Failure::NotJson {
        // Its own words may quote the body.
        line: error.line(),
        column: error.column(),
    })?;
    let Members::Object([rooms, user]) = found else {
        return Err(Failure::NotObject);
    };
    let allowed_rooms = match rooms {
        None => NO_ROOMS,
        Some(rooms) if rooms.starts_with('[') => body.slice_ref(rooms.as_bytes()),
        Some(_) => return Ok(None),
    };
    let user_id = match user_id_path {
        [] => None,
        [_, rest @ ..] => user.and_then(|user| user_id(user, rest)),
    };
    Ok(Some(Permissions {
        allowed_rooms,
        user_id,
    }))
}

/// Walks the rest of the path; a string or a number at its end is the user's id.
fn user_id(mut json: &str, path: &[String]) -> Option<Box<str>> {
    for key in path {
        let Members::Object([Some(member)]) = members(json, &[key.as_str()]).ok()? else {
            return None;
        };
        json = member;
    }
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(json).ok().map(Into::into),
        b'-' | b'0'..=b'9' => Some(json.into()),
        _ => None,
    }
}
