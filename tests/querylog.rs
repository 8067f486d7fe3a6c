//! Logs of queries, read back: lines of JSON, and dnstap by a reader written here from its
//! specification. What is logged slowly, or not at all, delays no answer.

mod support;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use support::{Folder, PATIENCE, Rhumb, exchange, free_port, parse, query, wait_for};

const ZONE: &str = "$TTL 300
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
www IN A 192.0.2.10
";
const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";

struct World {
    folder: Folder,
    dns: SocketAddr,
    admin: SocketAddr,
}

impl World {
    fn new(sample: u32) -> Self {
        let folder = Folder::with(&[("zones/example.test.zone", ZONE)]);
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let world = Self { folder, dns: local(free_port()), admin: local(free_port()) };
        let (lines, socket) = (world.file("queries.json"), world.file("dnstap"));
        let settings = format!(
            "instance: tested\nquery_log: {{ sample: {sample}, to: {} }}\ndnstap: {{ socket: {} }}\n",
            lines.display(),
            socket.display()
        );
        world.folder.write_server(&settings);
        world
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.root.path().join(name)
    }

    fn serve(&self) -> Rhumb {
        self.folder.serve(self.dns, self.admin)
    }

    fn ask(&self, name: &str) -> Vec<u8> {
        exchange(self.dns, &query(7, name, 1, None)).expect("an answer")
    }

    /// A counter of `/metrics`.
    fn metric(&self, name: &str) -> u64 {
        let text = support::fetch(self.admin, "/metrics");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in {text}"))
    }
}

/// Fields of a protocol buffer by number: numbers as they are, the rest as octets.
#[derive(Debug, Default)]
struct Fields {
    numbers: BTreeMap<u64, u64>,
    octets: BTreeMap<u64, Vec<u8>>,
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (first, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        shift += 7;
        if first & 0x80 == 0 {
            return value;
        }
    }
}

fn decode(mut bytes: &[u8]) -> Fields {
    let mut fields = Fields::default();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        match key & 7 {
            0 => {
                fields.numbers.insert(key >> 3, varint(&mut bytes));
            }
            2 => {
                let len = usize::try_from(varint(&mut bytes)).expect("short");
                fields.octets.insert(key >> 3, bytes[..len].to_vec());
                bytes = &bytes[len..];
            }
            5 => {
                let value = u32::from_le_bytes(bytes[..4].try_into().expect("4 octets"));
                fields.numbers.insert(key >> 3, u64::from(value));
                bytes = &bytes[4..];
            }
            other => panic!("wire type {other} is not used by dnstap"),
        }
    }
    fields
}

enum Frame {
    Control(u32, Vec<u8>),
    Data(Vec<u8>),
}

fn read_u32(stream: &mut UnixStream) -> io::Result<u32> {
    let mut octets = [0; 4];
    stream.read_exact(&mut octets)?;
    Ok(u32::from_be_bytes(octets))
}

fn read_frame(stream: &mut UnixStream) -> io::Result<Frame> {
    let len = read_u32(stream)?;
    if len > 0 {
        let mut payload = vec![0; len as usize];
        stream.read_exact(&mut payload)?;
        return Ok(Frame::Data(payload));
    }
    let len = read_u32(stream)?;
    let kind = read_u32(stream)?;
    let mut fields = vec![0; len as usize - 4];
    stream.read_exact(&mut fields)?;
    Ok(Frame::Control(kind, fields))
}

/// Takes a connection and greets as a reader of dnstap does.
fn accept(listener: &UnixListener) -> UnixStream {
    let (mut stream, _) = listener.accept().expect("a writer");
    stream.set_read_timeout(Some(PATIENCE)).expect("sets");
    let Ok(Frame::Control(4, offered)) = read_frame(&mut stream) else { panic!("READY comes first") };
    assert!(offered.ends_with(CONTENT_TYPE));
    let fields = [&1_u32.to_be_bytes()[..], &22_u32.to_be_bytes(), CONTENT_TYPE].concat();
    let len = 4 + u32::try_from(fields.len()).expect("short");
    let accepted = [&[0; 4][..], &len.to_be_bytes(), &1_u32.to_be_bytes(), &fields].concat();
    stream.write_all(&accepted).expect("accepts");
    let Ok(Frame::Control(2, started)) = read_frame(&mut stream) else { panic!("START follows") };
    assert!(started.ends_with(CONTENT_TYPE));
    stream
}

fn next_message(stream: &mut UnixStream) -> (Fields, Fields) {
    let Ok(Frame::Data(payload)) = read_frame(stream) else { panic!("a data frame") };
    let outer = decode(&payload);
    assert_eq!(outer.numbers[&15], 1, "a Dnstap with a MESSAGE");
    let message = decode(&outer.octets[&14]);
    (outer, message)
}

#[test]
fn every_exchange_is_in_both_logs_with_its_octets() {
    let world = World::new(1);
    let listener = UnixListener::bind(world.file("dnstap")).expect("binds");
    let mut rhumb = world.serve();
    let mut asked: Vec<(&str, Vec<u8>, Vec<u8>)> = Vec::new();
    let mut stream = None;
    for name in ["www.example.test", "nobody.example.test", "elsewhere.test"] {
        let (packet, reply) = (query(7, name, 1, None), world.ask(name));
        // Connected with the first record to be written.
        let stream = stream.get_or_insert_with(|| accept(&listener));
        let (outer, asks) = next_message(stream);
        assert_eq!(outer.octets[&1], b"tested");
        assert!(outer.octets[&2].starts_with(b"rhumb "));
        let kinds = [1, 2, 3].map(|field| asks.numbers[&field]);
        assert_eq!(kinds, [1, 1, 1], "AUTH_QUERY, INET, UDP");
        assert_eq!(
            (asks.octets[&4].as_slice(), asks.octets[&5].as_slice()),
            (&[127, 0, 0, 1][..], &[127, 0, 0, 1][..])
        );
        assert!(
            asks.numbers[&6] > 1_023 && asks.numbers[&8] > 1_600_000_000 && asks.numbers[&9] < 1_000_000_000
        );
        assert_eq!(asks.octets[&10], packet);
        let (_, answers) = next_message(stream);
        assert_eq!(answers.numbers[&1], 2, "AUTH_RESPONSE");
        assert_eq!(answers.octets[&14], reply);
        asked.push((name, packet, reply));
    }
    assert_eq!(rhumb.terminate(), Some(0));
    let mut stream = stream.expect("connected");
    assert!(matches!(read_frame(&mut stream), Ok(Frame::Control(3, _))), "STOP at the end");
    let text = std::fs::read_to_string(world.file("queries.json")).expect("written out");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), asked.len(), "{text}");
    for (name, packet, reply) in &asked {
        // Each worker's in order, workers in none.
        let line =
            lines.iter().find(|line| line["name"] == *name).unwrap_or_else(|| panic!("{name}: {text}"));
        let rcode = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"]
            [usize::from(parse(reply).rcode)];
        assert_eq!(line["rcode"], rcode, "{line}");
        assert_eq!((&line["type"], &line["transport"]), (&"A".into(), &"udp".into()));
        assert_eq!(
            (&line["query_octets"], &line["reply_octets"]),
            (&packet.len().into(), &reply.len().into())
        );
        assert!(line["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.1:")));
    }
}

#[test]
fn a_sample_is_a_sample_and_a_reader_that_is_away_holds_nothing_up() {
    let world = World::new(10);
    let mut rhumb = world.serve();
    for _ in 0..500 {
        assert_eq!(parse(&world.ask("www.example.test")).answers, 1);
    }
    let lost = || world.metric("rhumb_query_log_lost_total{log=\"dnstap\"}");
    wait_for("all of dnstap to be counted as lost", || (lost() == 500).then_some(()));
    let taken = world.metric("rhumb_query_log_records_total{log=\"lines\"}");
    assert!((20..90).contains(&taken), "{taken} of 500");
    // The reader comes back, and so does what it reads.
    let listener = UnixListener::bind(world.file("dnstap")).expect("binds");
    listener.set_nonblocking(true).expect("sets");
    let (stream, _) = wait_for("the writer to connect", || {
        world.ask("www.example.test");
        listener.accept().ok()
    });
    drop(stream);
    assert_eq!(rhumb.terminate(), Some(0));
    let text = std::fs::read_to_string(world.file("queries.json")).expect("written out");
    assert!(text.lines().count() as u64 >= taken, "{text}");
}
