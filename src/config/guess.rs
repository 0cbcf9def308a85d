//! Suggestions for misspelled settings: "did you mean …?".
//!
//! Section and key are compared separately, so that a key that many sections have, such as `url` or
//! `timeout`, does not suggest a setting of an unrelated section.

use strsim::damerau_levenshtein;

use crate::config::names::{SHORT, section_of, variable_of};
use crate::config::secret_file::{file_of, secrets};
use crate::config::settings::KEYS;

/// Returns `; did you mean …?` for an unknown variable, or nothing if no known one is similar.
pub(crate) fn variable(name: &str) -> String {
    let known = settings();
    let name = name.strip_prefix("HT_").unwrap_or(name);
    let name = name.to_ascii_lowercase();
    let split = match name.split_once("__") {
        Some(parts) => vec![parts],
        // A top-level setting, or a single underscore between section and key.
        None => {
            let inside = name.match_indices('_');
            let inside = inside.map(|(at, _)| (&name[..at], &name[at + 1..]));
            std::iter::once(("", &*name)).chain(inside).collect()
        }
    };
    sentence(nearest(&split, &known).map(variable_of))
}

/// The same for an unknown setting in the file, of which `keys` are known.
pub(crate) fn setting(key: &str, keys: &[&str]) -> String {
    let known = names_of(keys);
    sentence(nearest(&[parts(key)], &known).map(str::to_owned))
}

/// The same for an unknown section in the file.
pub(crate) fn section(key: &str, keys: &[&str]) -> String {
    let mut known: Vec<_> = keys.iter().map(|key| section_of(key).to_owned()).collect();
    known.retain(|section| !section.is_empty());
    known.dedup();
    sentence(nearest(&[parts(key)], &known).map(str::to_owned))
}

fn sentence(guess: Option<String>) -> String {
    guess.map_or_else(String::new, |guess| format!("; did you mean {guess}?"))
}

/// Every name that a setting can be written under.
fn settings() -> Vec<String> {
    names_of(KEYS)
}

/// The same of these settings.
fn names_of(keys: &[&str]) -> Vec<String> {
    let files = secrets()
        .filter(|secret| keys.contains(secret))
        .map(file_of);
    let short = SHORT.iter().filter(|(_, key)| keys.contains(key));
    let short = short.map(|(short, _)| (*short).to_owned());
    let keys = keys.iter().map(|key| (*key).to_owned());
    keys.chain(files).chain(short).collect()
}

/// Splits a path into section (empty at the top level) and key.
fn parts(key: &str) -> (&str, &str) {
    key.rsplit_once('.').unwrap_or(("", key))
}

/// Returns the known name whose section and key are both similar to those of one of the `readings`
/// of what was written. If there is none: the only known name with exactly this key, in any section.
fn nearest<'a>(readings: &[(&str, &str)], known: &'a [String]) -> Option<&'a str> {
    let distance_to = |known: &'a String| {
        let (section, key) = parts(known);
        let each = readings.iter().filter_map(|(given_section, given_key)| {
            Some(distance(given_section, section)? + distance(given_key, key)?)
        });
        Some((each.min()?, known))
    };
    if let Some((_, near)) = known.iter().filter_map(distance_to).min() {
        return Some(near);
    }
    let has_key = |known: &&String| {
        let key = parts(known).1;
        let mut given = readings.iter();
        given.any(|(_, given)| distance(given, key) == Some(0))
    };
    let mut same = known.iter().filter(has_key);
    same.next()
        .filter(|_| same.next().is_none())
        .map(|it| &**it)
}

/// The Damerau-Levenshtein distance of two names, if it is at most a third of the longer one. Letter
/// case and separators are ignored.
fn distance(one: &str, other: &str) -> Option<usize> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], "");
    let (one, other) = (plain(one), plain(other));
    let longer = one.chars().count().max(other.chars().count());
    Some(damerau_levenshtein(&one, &other)).filter(|distance| distance * 3 <= longer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_guessed_by_section_and_key() {
        for (name, guess) in [
            ("HT_BAKEND__URL", "HT_BACKEND__URL"),
            ("HT_BAKEND__URI", "HT_BACKEND__URL"),
            ("HT_BACKNED__URL", "HT_BACKEND__URL"),
            ("HT_BACKEND_URL", "HT_BACKEND__URL"),
            ("HT_BAKEND_URL", "HT_BACKEND__URL"),
            ("HT_Backend__Url", "HT_BACKEND__URL"),
            ("HT_BACKEND__URI", "HT_BACKEND__URL"),
            ("HT_RABITMQ__URL", "HT_RABBITMQ__URL"),
            ("HT_RABBIT_MQ__URL", "HT_RABBITMQ__URL"),
            ("HT_RABBITMQ_URL_FILE", "HT_RABBITMQ__URL_FILE"),
            ("HT_API_KEY", "HT_INTERNAL__API_KEY"),
            ("HT_INTERNAL__APIKEY_FILE", "HT_INTERNAL__API_KEY_FILE"),
            ("HT_TRUSTED_PROXYS", "HT_TRUSTED_PROXIES"),
            ("HT_ORIGIN", "HT_ORIGINS"),
            ("HT_SERVER__THREADS", "HT_THREADS"),
            ("HT_HOOK__TIMEOUT", "HT_HOOKS__TIMEOUT"),
            ("HT_LIMITS__CONNECTION", "HT_LIMITS__CONNECTIONS"),
            // Several settings have this key, and no section is near.
            ("HT_API__URL", ""),
            ("HT_SERVER__TIMEOUT", ""),
            ("HT_URL", ""),
            // Nothing is similar.
            ("HT_FRONTEND__COLOR", ""),
            ("HT_PORT", ""),
            ("HT_", ""),
        ] {
            let expected = match guess {
                "" => String::new(),
                guess => format!("; did you mean {guess}?"),
            };
            assert_eq!(variable(name), expected, "{name}");
        }
    }

    #[test]
    fn settings_and_sections_of_the_file_are_guessed_alike() {
        for (found, guess) in [
            (setting("thread", KEYS), "threads"),
            (setting("limits.mesage_bytes", KEYS), "limits.message_bytes"),
            (setting("bakend.url", KEYS), "backend.url"),
            (setting("api_key", KEYS), "internal.api_key"),
            (setting("server.threads", KEYS), "threads"),
            (setting("url", KEYS), ""),
            (setting("backend.colour", KEYS), ""),
            (section("limit", KEYS), "limits"),
            (section("bakend", KEYS), "backend"),
            (section("backend.hooks", KEYS), "hooks"),
            (section("frontend.colours", KEYS), ""),
            (section("colours", KEYS), ""),
        ] {
            let expected = match guess {
                "" => String::new(),
                guess => format!("; did you mean {guess}?"),
            };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn every_setting_is_its_own_guess() {
        for known in settings() {
            let guess = format!("; did you mean {known}?");
            assert_eq!(setting(&known, KEYS), guess);
            let guess = format!("; did you mean {}?", variable_of(&known));
            assert_eq!(variable(&variable_of(&known)), guess);
        }
    }
}
