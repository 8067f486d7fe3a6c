//! What a probe asks, by kind, with the defaults of that kind.

use crate::model::probe::{CommandProbe, DnsProbe, GrpcProbe, HttpProbe, Method, PacketProbe, ProbeKind};
use crate::policy::files::probe::{KindWord, MethodWord, ProbeFile, RcodeWord, RecordWord};
use crate::policy::read::{List, Slot, Table};
use crate::policy::scalars::{HeaderName, Text};
use std::path::PathBuf;

/// `None` where a key that the kind needs is missing or was refused; that has been reported.
pub fn lower(probe: &ProbeFile, kind: KindWord) -> Option<ProbeKind> {
    // Keys of all kinds are `super::probe`'s, those of http `lower_http`'s.
    let ProbeFile {
        place: _,
        kind: _,
        name: _,
        port: _,
        method: _,
        path: _,
        host,
        headers: _,
        status: _,
        body: _,
        matches: _,
        tls,
        verify,
        ca,
        packets,
        query,
        record,
        rcode,
        answer,
        service,
        command,
        class: _,
        interval: _,
        timeout: _,
        rise: _,
        fall: _,
        ok: _,
        target: _,
    } = probe;
    let packets = || PacketProbe { packets: packets.value().map_or(1, |n| u8::try_from(n.0).unwrap_or(1)) };
    Some(match kind {
        KindWord::Tcp => ProbeKind::Tcp,
        KindWord::Http => lower_http(probe, false),
        KindWord::Https => lower_http(probe, true),
        KindWord::Icmp => ProbeKind::Icmp(packets()),
        KindWord::Stun => ProbeKind::Stun(packets()),
        KindWord::Dns => ProbeKind::Dns(DnsProbe {
            query: query.value()?.0.clone(),
            record: record.value().map_or(RecordWord::A.number(), |word| word.number()),
            rcode: rcode.value().map_or(RcodeWord::Noerror.number(), |word| word.number()),
            answer: text(answer),
        }),
        KindWord::Grpc => ProbeKind::Grpc(GrpcProbe {
            service: text(service).unwrap_or_default(),
            tls: tls.value().copied().unwrap_or(false),
            host: text(host),
            verify: verify.value().copied().unwrap_or(true),
            ca: text(ca).map(PathBuf::from),
        }),
        KindWord::Command => ProbeKind::Command(lower_command(command.value()?)?),
    })
}

fn text(slot: &Slot<Text>) -> Option<String> {
    slot.value().map(|text| text.0.clone())
}

fn lower_http(probe: &ProbeFile, tls: bool) -> ProbeKind {
    let defaults = HttpProbe::default();
    ProbeKind::Http(HttpProbe {
        tls,
        method: probe.method.value().map_or(defaults.method, lower_method),
        path: probe.path.value().map_or(defaults.path, |path| path.0.clone()),
        host: text(&probe.host),
        headers: probe.headers.value().map_or(defaults.headers, lower_headers),
        status: match probe.status.value() {
            Some(ranges) => ranges.0.items.iter().map(|range| (range.value.0, range.value.1)).collect(),
            None => defaults.status,
        },
        body: text(&probe.body),
        matches: probe.matches.value().map(|pattern| pattern.0.clone()),
        verify: probe.verify.value().copied().unwrap_or(defaults.verify),
        ca: text(&probe.ca).map(PathBuf::from),
    })
}

fn lower_method(word: &MethodWord) -> Method {
    match word {
        MethodWord::Get => Method::Get,
        MethodWord::Head => Method::Head,
        MethodWord::Options => Method::Options,
    }
}

fn lower_headers(table: &Table<HeaderName, Text>) -> Vec<(String, String)> {
    let rows = table.rows.iter();
    rows.filter_map(|(name, value)| Some((name.value.0.clone(), value.as_ref()?.0.clone()))).collect()
}

fn lower_command(list: &List<Text>) -> Option<CommandProbe> {
    let command: Vec<String> = list.items.iter().map(|word| word.value.0.clone()).collect();
    (!command.is_empty()).then_some(CommandProbe { command })
}
