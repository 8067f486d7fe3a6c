//! Any bytes as a query: no panic, and an answer within its limits that echoes what was asked; the
//! short way, where it is taken, says what the long one says.
//!
//! The first byte chooses the transport and the room for the answer; the rest is the query.
#![no_main]

#[path = "../../tests/world/mod.rs"]
mod world;

use libfuzzer_sys::fuzz_target;
use rhumb::dns::{CookieSecrets, Ctx, Scratch, Transport, answer_any, usual};
use rhumb::routing::Snapshot;
use std::sync::LazyLock;

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| world::World::new().snapshot());

static SECRETS: LazyLock<CookieSecrets> = LazyLock::new(|| CookieSecrets::new(&[7; 16], None));

fuzz_target!(|data: &[u8]| {
    let Some((&choice, query)) = data.split_first() else { return };
    let transport = [Transport::Udp, Transport::Tcp, Transport::Tls][usize::from(choice) % 3];
    let room = [512, 1_232, 4_096, 65_535, 100][usize::from(choice) % 5];
    let mut out = vec![0; room];
    let ctx = Ctx { cookies: Some(&SECRETS), seconds: 1_700_000_000, ..world::ctx(transport) };
    let mut scratch = Scratch::default();
    let len = answer_any(&SNAPSHOT, &ctx, &mut scratch, query, &mut out);
    let (mut short_out, mut short_scratch) = (vec![0; room], Scratch::default());
    if let Some(short) = usual::answer(&SNAPSHOT, &ctx, &mut short_scratch, query, &mut short_out) {
        assert_eq!((&short_out[..short], short_scratch), (&out[..len], scratch));
    }
    assert!(len <= room);
    if transport == Transport::Udp {
        assert!(len <= 1_232);
    }
    if len > 0 {
        assert_eq!(out[..2], query[..2], "the id is echoed");
        assert_eq!(out[2] & 0xf8, query[2] & 0x78 | 0x80, "a response of the same opcode");
        world::Reply::read(&out[..len]);
    }
});
