//! Any bytes as client subnet and cookie options: what is read is sound, what is answered echoes it, and
//! the short way, where it is taken, says what the long one says.
//!
//! ```text
//!  data: length of the subnet option ‖ its payload ‖ the cookie option's payload
//! ```
#![no_main]

#[path = "../../tests/world/mod.rs"]
mod world;

use libfuzzer_sys::fuzz_target;
use rhumb::dns::cookie::Cookie;
use rhumb::dns::ecs::Ecs;
use rhumb::dns::{CookieSecrets, Ctx, Scratch, Transport, answer_any, usual};
use rhumb::routing::Snapshot;
use std::sync::LazyLock;
use world::{A, Reply, ask};

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| world::World::new().snapshot());
static SECRETS: LazyLock<CookieSecrets> = LazyLock::new(|| CookieSecrets::new(&[7; 16], Some(&[8; 16])));

const ECS: u16 = 8;
const COOKIE: u16 = 10;

fuzz_target!(|data: &[u8]| {
    let Some((&len, rest)) = data.split_first() else { return };
    let (subnet, cookie) = rest.split_at(usize::from(len).min(rest.len()));
    if subnet.len() > 600 || cookie.len() > 600 {
        return;
    }
    let query = ask("split.rhumb.test", A).option(ECS, subnet).option(COOKIE, cookie).bytes();
    let ctx = Ctx { cookies: Some(&SECRETS), seconds: 1_700_000_000, ..world::ctx(Transport::Udp) };
    let (mut out, mut scratch) = (vec![0; 1_232], Scratch::default());
    let len = answer_any(&SNAPSHOT, &ctx, &mut scratch, &query, &mut out);
    let reply = Reply::read(&out[..len]);
    let is_sound = Ecs::read(subnet).is_ok() && Cookie::read(cookie).is_ok();
    assert_eq!(reply.rcode, if is_sound { 0 } else { 1 });
    if is_sound {
        let echo = reply.option(ECS).expect("the subnet is echoed");
        assert_eq!((&echo[..3], &echo[4..]), (&subnet[..3], &subnet[4..]));
        assert!(echo[3] <= 128);
        assert_eq!(reply.option(COOKIE).expect("a cookie")[..8], cookie[..8]);
    }
    let (mut short_out, mut short_scratch) = (vec![0; 1_232], Scratch::default());
    if let Some(short) = usual::answer(&SNAPSHOT, &ctx, &mut short_scratch, &query, &mut short_out) {
        assert_eq!((&short_out[..short], short_scratch), (&out[..len], scratch));
    }
});
