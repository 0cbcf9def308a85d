//! Browsers that offer compression which they cannot read.
//!
//! WebKit of iOS and iPadOS 15.0 to 15.3, and of Safari 15.0 to 15.3 on macOS, offers
//! permessage-deflate and then fails connections over compressed messages (WebKit's NSURLSession
//! WebSocket). Every browser on iOS and iPadOS uses that WebKit, whatever its name. 15.4 is not
//! affected.

/// Whether the browser behind this `User-Agent` must not be given compressed messages.
pub(crate) fn misreads_compression(user_agent: &str) -> bool {
    let Some(platform) = platform(user_agent) else {
        return false;
    };
    if ["iPhone", "iPad", "iPod"]
        .iter()
        .any(|it| platform.starts_with(it))
    {
        return ios_version(platform).is_some_and(is_broken);
    }
    if !platform.starts_with("Macintosh") || !user_agent.contains("AppleWebKit/") {
        return false;
    }
    // iPadOS identifies as a Mac when it requests desktop pages. Safari's version is then the
    // system's; other browsers do not send the system's version.
    let is_other_of_ipados = ["CriOS/", "FxiOS/", "EdgiOS/", "OPiOS/"]
        .iter()
        .any(|name| user_agent.contains(name));
    is_other_of_ipados || safari_version(user_agent).is_some_and(is_broken)
}

fn is_broken((major, minor): (u32, u32)) -> bool {
    major == 15 && minor <= 3
}

/// The content of the first parentheses: `iPhone; CPU iPhone OS 15_2 like Mac OS X`.
fn platform(user_agent: &str) -> Option<&str> {
    let (_, rest) = user_agent.split_once('(')?;
    rest.split_once(')').map(|(platform, _)| platform)
}

/// The version in `CPU iPhone OS 15_2_1 like Mac OS X` or `CPU OS 15_2 like Mac OS X`.
fn ios_version(platform: &str) -> Option<(u32, u32)> {
    let (_, rest) = platform.split_once(" OS ")?;
    version(rest, '_')
}

/// The version of Safari itself; `None` for browsers that only use similar names, as Chrome does.
fn safari_version(user_agent: &str) -> Option<(u32, u32)> {
    let (_, rest) = user_agent.split_once(" Version/")?;
    rest.contains(" Safari/")
        .then(|| version(rest, '.'))
        .flatten()
}

/// Major and minor version at the start of a text; a missing minor version is 0.
fn version(text: &str, separator: char) -> Option<(u32, u32)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != separator)
        .unwrap_or(text.len());
    let mut parts = text[..end].split(separator);
    let major = parts.next()?.parse().ok()?;
    let minor = match parts.next() {
        Some(minor) => minor.parse().ok()?,
        None => 0,
    };
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEBKIT: &str = "AppleWebKit/605.1.15 (KHTML, like Gecko)";

    #[test]
    fn ios_and_safari_15_0_to_15_3_misread_compression_and_no_others() {
        let iphone = |os: &str, rest: &str| {
            format!("Mozilla/5.0 (iPhone; CPU iPhone OS {os} like Mac OS X) {WEBKIT} {rest}")
        };
        let safari = |version: &str| format!("Version/{version} Mobile/15E148 Safari/604.1");
        let mac =
            |rest: &str| format!("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} {rest}");
        let desktop = |version: &str| mac(&format!("Version/{version} Safari/605.1.15"));
        for (user_agent, expected) in [
            (iphone("14_8_1", &safari("14.1.2")), false),
            (iphone("15", &safari("15.0")), true),
            (iphone("15_0", &safari("15.0")), true),
            (iphone("15_0_2", &safari("15.0")), true),
            (iphone("15_2", &safari("15.2")), true),
            (iphone("15_3_1", &safari("15.3")), true),
            (iphone("15_4", &safari("15.4")), false),
            (iphone("15_8_2", &safari("15.6.6")), false),
            (iphone("15_10", &safari("15.10")), false),
            (iphone("16_0", &safari("16.0")), false),
            (iphone("115_0", &safari("115.0")), false),
            // Other browsers, and apps with a page inside.
            (iphone("15_2", "CriOS/96.0.4664.101 Mobile/15E148 Safari/604.1"), true),
            (iphone("15_5", "CriOS/96.0.4664.101 Mobile/15E148 Safari/604.1"), false),
            (iphone("15_1", "FxiOS/40.0 Mobile/15E148 Safari/605.1.15"), true),
            (iphone("15_3", "Mobile/15E148"), true),
            (iphone("17_1", "Mobile/15E148 [FBAN/FBIOS;FBSV/15.2]"), false),
            (
                format!("Mozilla/5.0 (iPad; CPU OS 15_1 like Mac OS X) {WEBKIT} {}", safari("15.1")),
                true,
            ),
            (
                format!("Mozilla/5.0 (iPad; CPU OS 16_1 like Mac OS X) {WEBKIT} {}", safari("16.1")),
                false,
            ),
            (
                format!("Mozilla/5.0 (iPod touch; CPU iPhone OS 15_2 like Mac OS X) {WEBKIT} {}", safari("15.2")),
                true,
            ),
            // macOS, and iPadOS when it requests desktop pages.
            (desktop("14.1.2"), false),
            (desktop("15"), true),
            (desktop("15.0"), true),
            (desktop("15.3"), true),
            (desktop("15.4"), false),
            (desktop("15.6.1"), false),
            (desktop("15.30"), false),
            (desktop("17.2"), false),
            (mac("CriOS/96 Version/11.1.1 Safari/605.1.15"), true),
            (mac(""), false),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like \
                 Gecko) Chrome/97.0.4692.99 Safari/537.36"
                    .to_owned(),
                false,
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:96.0) Gecko/20100101 Firefox/96.0"
                    .to_owned(),
                false,
            ),
            // Not Apple's WebKit.
            (
                format!("Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Version/15.0 Safari/605.1.15"),
                false,
            ),
            (
                "Mozilla/5.0 (Linux; U; Android 4.0; en) AppleWebKit/534.30 (KHTML, like Gecko) \
                 Version/15.0 Mobile Safari/534.30"
                    .to_owned(),
                false,
            ),
            ("Version/15.2 Safari/605.1.15".to_owned(), false),
            ("iPhone OS 15_2".to_owned(), false),
            (String::new(), false),
            ("(iPhone; CPU iPhone OS 99999999999999999999_1)".to_owned(), false),
            ("(iPhone; CPU iPhone OS 15_)".to_owned(), false),
        ] {
            assert_eq!(misreads_compression(&user_agent), expected, "{user_agent}");
        }
    }
}
