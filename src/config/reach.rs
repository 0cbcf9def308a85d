//! Which peers reach the internal listener, and with which keys.

use ht_node::config::Listen;

use crate::config::mistake::Mistakes;
use crate::config::settings::Values;
use crate::config::table::Found;

/// Checks that other machines need a key, and that the rights of every key have one source.
pub(crate) fn check(values: &Values, mistakes: &mut Mistakes) {
    let internal = &values.internal_listen;
    check_keys(values, mistakes);
    let has_key = !values.internal_api_key.value.is_empty()
        || !values.internal_keys.value.is_empty()
        || mistakes.about("internal.api_key")
        || mistakes.about("internal.keys");
    if !is_local(&internal.value) && !has_key {
        mistakes.add(
            &internal.place,
            "internal.listen",
            "other machines can reach this address, and could publish to every user: set \
             internal.api_key as well, or listen on 127.0.0.1",
        );
    }
}

/// A key that may do everything needs no rights.
fn check_keys(values: &Values, mistakes: &mut Mistakes) {
    let Found { value, place } = &values.internal_keys;
    let all = &values.internal_api_key.value;
    for (number, _) in (1..)
        .zip(value)
        .filter(|(_, restricted)| all.contains(&restricted.key))
    {
        let what = format!(
            "key {number} is in internal.api_key as well, and so may do everything: remove it from \
             one of the two"
        );
        mistakes.add(place, "internal.keys", what);
    }
}

fn is_local(listen: &Listen) -> bool {
    match listen {
        Listen::Tcp(address) => address.ip().to_canonical().is_loopback(),
        Listen::Unix { .. } => true,
    }
}
