//! A list without its `]`: the parser reads on to the end of the file and reports every line of it, but
//! not the one that is wrong.

use toml::de::Error;

/// Where the line begins that opens a list which is never closed, if that is one of the errors.
pub(super) fn list(text: &str, errors: &[Error]) -> Option<usize> {
    if !errors
        .iter()
        .any(|error| error.message().starts_with("unclosed array"))
    {
        return None;
    }
    let within = errors
        .iter()
        .filter(|error| error.message().contains("array"));
    let found = within
        .filter_map(|error| error.span())
        .map(|span| span.start)
        .min()?;
    let mut end = found;
    while let Some(line) = text[..end].lines().next_back() {
        let begin = end - line.len() - usize::from(text[..end].ends_with('\n'));
        if opens_list(line) {
            return Some(begin);
        }
        end = begin;
    }
    None
}

/// Whether the value in a line is a list that continues in the next one.
fn opens_list(line: &str) -> bool {
    let value = line
        .split_once('=')
        .map_or("", |(_, value)| value.trim_start());
    let count = |bracket| value.matches(bracket).count();
    value.starts_with('[') && count('[') > count(']')
}
