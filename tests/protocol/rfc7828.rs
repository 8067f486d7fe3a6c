//! RFC 7828 (edns-tcp-keepalive), and 7830 with 8467 (padding): options of streams.

use crate::world::{A, Ask, Reply, World, ask, ctx, reply};
use rhumb::dns::{Scratch, Transport};
use rhumb::routing::Snapshot;
use std::sync::LazyLock;

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| World::new().snapshot());
const KEEPALIVE: u16 = 11;
const PADDING: u16 = 12;

#[test]
fn how_long_a_stream_may_be_silent_is_told_to_who_asks_over_one() {
    let asking = ask("ns1.rhumb.test", A).option(KEEPALIVE, b"");
    for (transport, told) in
        [(Transport::Udp, None), (Transport::Tcp, Some(100)), (Transport::Tls, Some(100))]
    {
        let found = reply(&SNAPSHOT, &ctx(transport), &asking);
        let tenths = found.option(KEEPALIVE).map(|data| u16::from_be_bytes([data[0], data[1]]));
        assert_eq!((found.rcode, tenths), (0, told), "{transport:?}");
        let silent = reply(&SNAPSHOT, &ctx(transport), &ask("ns1.rhumb.test", A).edns(1_232));
        assert_eq!(silent.option(KEEPALIVE), None, "{transport:?}");
    }
}

fn padded(query: &Ask, transport: Transport) -> Reply {
    reply(&SNAPSHOT, &ctx(transport), query)
}

#[test]
fn padding_is_for_encrypted_streams_that_pad_themselves() {
    let queries = [
        ask("ns1.rhumb.test", A),
        ask("live.rhumb.test", A).subnet("1.2.3.0/24").option(3, b""),
        ask("nobody.rhumb.test", A),
        ask("example.com", A),
        ask("x.sub.rhumb.test", A),
    ];
    for query in queries {
        let asking = query.clone().option(PADDING, &[0; 20]);
        for transport in [Transport::Udp, Transport::Tcp] {
            assert_eq!(padded(&asking, transport).option(PADDING), None);
        }
        let found = padded(&asking, Transport::Tls);
        assert_eq!(found.bytes.len(), 468, "{query:?}");
        assert!(found.option(PADDING).expect("padding").iter().all(|octet| *octet == 0));
        let last = found.options.expect("an OPT record").last().map(|(code, _)| *code);
        assert_eq!(last, Some(PADDING), "it is the last option");
        assert_eq!(padded(&Ask { edns: Some(512), ..query }, Transport::Tls).option(PADDING), None);
    }
}

#[test]
fn padding_takes_what_room_there_is_and_goes_first() {
    let query = ask("ns1.rhumb.test", A).option(PADDING, b"");
    let bare = padded(&query, Transport::Tcp).bytes.len();
    for room in bare..bare + 8 {
        let mut out = vec![0; room];
        let asked = query.bytes();
        let len =
            rhumb::dns::answer(&SNAPSHOT, &ctx(Transport::Tls), &mut Scratch::default(), &asked, &mut out);
        let found = Reply::read(&out[..len]);
        assert_eq!((found.answers.len(), found.is_truncated), (1, false), "{room}");
        assert_eq!(found.option(PADDING).map(<[u8]>::len), room.checked_sub(bare + 4), "{room}");
    }
}

#[test]
fn padded_answers_are_not_for_the_record_encoder() {
    let mut scratch = Scratch::default();
    let mut records = |query: &Ask| {
        rhumb::dns::answer_records(&SNAPSHOT, &ctx(Transport::Tls), &mut scratch, &query.bytes()).is_some()
    };
    assert!(records(&ask("ns1.rhumb.test", A).edns(1_232)));
    assert!(!records(&ask("ns1.rhumb.test", A).option(PADDING, b"")));
}
