//! RFC 8020: NXDOMAIN means that there is nothing underneath, so it must never be said above a name.

use crate::world::{A, TXT, World, ask, ctx, reply};
use rhumb::dns::Transport;

/// Name, and whether anything exists at or below it.
const NAMES: &[(&str, bool)] = &[
    ("a.b.c.ent.rhumb.test", true),
    // Empty non-terminals (2).
    ("b.c.ent.rhumb.test", true),
    ("c.ent.rhumb.test", true),
    ("ent.rhumb.test", true),
    ("x.ent.rhumb.test", false),
    ("x.a.b.c.ent.rhumb.test", false),
    ("deep.alias.rhumb.test", true),
    ("x.deep.alias.rhumb.test", false),
    // Only a wildcard is below it.
    ("wild.rhumb.test", true),
    ("walias.rhumb.test", true),
    ("live.rhumb.test", true),
    ("x.live.rhumb.test", false),
    ("nobody.rhumb.test", false),
    ("x.nobody.rhumb.test", false),
];

#[test]
fn nxdomain_is_said_only_where_nothing_is_below() {
    let snapshot = World::new().snapshot();
    for &(name, exists) in NAMES {
        for qtype in [A, TXT, 65_399] {
            let found = reply(&snapshot, &ctx(Transport::Udp), &ask(name, qtype));
            assert_eq!(found.rcode, if exists { 0 } else { 3 }, "{name} {qtype}");
        }
    }
}

#[test]
fn below_what_does_not_exist_nothing_does() {
    let snapshot = World::new().snapshot();
    for &(name, _) in NAMES.iter().filter(|(_, exists)| !exists) {
        for more in ["a", "*", "a.b"] {
            let found = reply(&snapshot, &ctx(Transport::Udp), &ask(&format!("{more}.{name}"), A));
            assert_eq!((found.rcode, found.authority.len()), (3, 1), "{more}.{name}");
        }
    }
}
