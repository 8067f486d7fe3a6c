//! RFC 4892 and custom: who answers, asked in class CHAOS; only where the policy wants it told.

use crate::world::{A, Reply, TXT, World, ask, ctx, reply};
use rhumb::dns::Transport;

fn get(is_told: bool, name: &str, qtype: u16) -> Reply {
    let mut world = World::new();
    world.policy.server.identify = is_told;
    world.policy.server.instance = "edge-1".to_owned();
    let mut query = ask(name, qtype);
    *query.question.last_mut().expect("a class") = 3;
    reply(&world.snapshot(), &ctx(Transport::Udp), &query)
}

#[test]
fn names_of_the_server_are_answered_if_the_policy_says_so() {
    let version = concat!("rhumb ", env!("CARGO_PKG_VERSION"));
    for (name, text) in [
        ("version.bind", version),
        ("Version.Server", version),
        ("hostname.bind", "edge-1"),
        ("id.server", "edge-1"),
    ] {
        let told = get(true, name, TXT);
        assert_eq!((told.rcode, told.is_authoritative, told.answers.len()), (0, true, 1), "{name}");
        let (_, rtype, ttl, rdata) = &told.answers[0];
        assert_eq!((*rtype, *ttl, &rdata[1..]), (TXT, 0, text.as_bytes()), "{name}");
        assert_eq!(usize::from(rdata[0]), text.len());
        let class_at = told.bytes.len() - rdata.len() - 8;
        assert_eq!(told.bytes[class_at..class_at + 2], [0, 3], "{name}");
        assert_eq!((get(false, name, TXT).rcode, get(true, name, A).rcode), (5, 5), "{name}");
    }
}

#[test]
fn nothing_else_is_there_in_class_chaos() {
    for name in ["authors.bind", "rhumb.test", "ns1.rhumb.test", ""] {
        assert_eq!(get(true, name, TXT).rcode, 5, "{name}");
    }
}
