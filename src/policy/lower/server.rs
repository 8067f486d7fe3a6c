//! `rhumb.yaml` to [`ServerConfig`]: the model's defaults where the file is silent.

use crate::base::diagnostic::Span;
use crate::base::prefix::Prefix;
use crate::model::dnssec::{Algorithm, DnssecConfig, SignedZones};
use crate::model::policy::{
    AnswerClass, DnstapConfig, EncryptedListener, LogTarget, MeasureListener, MeasureRules, QueryLimit,
    QueryLogConfig, RateLimit, ReportsListener, ServerConfig, StatusPage,
};
use crate::policy::codes;
use crate::policy::files::server::{
    AlgorithmWord, ClassWord, DnssecFile, DnstapFile, EncryptedFile, MeasureFile, QueryLimitFile,
    QueryLogFile, RateLimitFile, ReportsFile, ServerFile, StatusPageFile, ZoneWord,
};
use crate::policy::findings::{At, Findings, Place};
use crate::policy::places::Cidr;
use crate::policy::read::{List, OneOrMany, OrNone, Slot};
use crate::policy::scalars::{Text, Whole};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Queries for each one that is logged, where the file is silent.
const DEFAULT_SAMPLE: u32 = 1_000;

pub fn lower(file: &Slot<ServerFile>, findings: &mut Findings) -> ServerConfig {
    let defaults = ServerConfig::default();
    let Some(file) = file.value() else {
        return defaults;
    };
    let ServerFile {
        place: _,
        version: _,
        instance,
        identify,
        cookie_secrets,
        listen,
        dot,
        doh,
        doq,
        reports,
        measure,
        admin,
        admin_access,
        state,
        geo,
        workers,
        tick,
        planner: _,
        commands,
        dnssec,
        rate_limit,
        query_limit,
        query_log,
        dnstap,
        transfer,
        status_page,
    } = file;
    super::listeners::check(file, findings);
    ServerConfig {
        instance: instance.value().map_or(defaults.instance, |name| name.0.clone()),
        identify: identify.value().copied().unwrap_or(defaults.identify),
        cookie_secrets: cookie_secrets.value().map(|text| PathBuf::from(&text.0)),
        cookie_secrets_span: cookie_secrets.given().map_or_else(Span::default, |at| at.place.span),
        listen: match listen.given() {
            Some(at) => sockets(at, findings),
            None => defaults.listen,
        },
        dot: dot.value().and_then(|file| lower_encrypted(file, findings)),
        doh: doh.value().and_then(|file| lower_encrypted(file, findings)),
        doq: doq.value().and_then(|file| lower_encrypted(file, findings)),
        reports: reports.value().and_then(lower_reports),
        measure: measure.value().and_then(|file| lower_measure(file, findings)),
        admin: admin.value().copied().unwrap_or(defaults.admin),
        admin_access: super::admin::lower(admin_access.value(), admin, findings),
        state_dir: state.value().map_or(defaults.state_dir, |text| PathBuf::from(&text.0)),
        geo_files: geo.value().map_or(defaults.geo_files, paths),
        workers: workers.value().map_or(defaults.workers, |n| u16::try_from(n.0).unwrap_or(u16::MAX)),
        tick: tick.value().map_or(defaults.tick, |span| span.0),
        commands: commands.value().copied().unwrap_or(defaults.commands),
        dnssec: dnssec.value().and_then(lower_dnssec),
        query_log: query_log.value().and_then(lower_query_log),
        dnstap: dnstap.value().and_then(lower_dnstap),
        rate_limit: match rate_limit.value() {
            Some(OrNone(limits)) => limits.as_ref().map(|limits| lower_rate_limit(limits, findings)),
            None => defaults.rate_limit,
        },
        query_limit: match query_limit.value() {
            Some(OrNone(limit)) => limit.as_ref().map(|limit| lower_query_limit(limit, findings)),
            None => defaults.query_limit,
        },
        status_page: status_page.value().and_then(lower_status_page),
        transfer: transfer.given().map(|at| super::transfer::lower(&at.value, at.place, findings)),
    }
}

fn paths(files: &OneOrMany<Text>) -> Vec<PathBuf> {
    files.0.items.iter().map(|file| PathBuf::from(&file.value.0)).collect()
}

/// Networks of an allow list: every limited response looks at each.
const MOST_ALLOWED: usize = 256;

fn lower_rate_limit(file: &RateLimitFile, findings: &mut Findings) -> RateLimit {
    let RateLimitFile { place: _, answers, steered, negative, referrals, errors, slip, log_only, allow } =
        file;
    let defaults = RateLimit::default();
    let rate = |slot: &Slot<Whole<1, 100_000>>| {
        slot.value().and_then(|rate| u32::try_from(rate.0).ok()).unwrap_or(RateLimit::DEFAULT_RATE)
    };
    RateLimit {
        rates: [answers, steered, negative, referrals, errors].map(rate),
        slip: slip.value().and_then(|slip| u8::try_from(slip.0).ok()).unwrap_or(defaults.slip),
        log_only: log_only
            .value()
            .map_or(defaults.log_only, |words| words.0.items.iter().map(|word| class(word.value)).collect()),
        allow: allowed(allow, findings).unwrap_or(defaults.allow),
    }
}

pub(super) fn allowed(allow: &Slot<List<Cidr>>, findings: &mut Findings) -> Option<Vec<Prefix>> {
    let At { value, place } = allow.given()?;
    if value.items.len() > MOST_ALLOWED {
        let message = format!("{} networks to be allowed", value.items.len());
        findings
            .report(&codes::TOO_MANY, *place, message)
            .help(format!("join them to {MOST_ALLOWED} at most, or raise the limits"));
    }
    Some(value.items.iter().map(|cidr| cidr.value.0).collect())
}

fn lower_query_limit(file: &QueryLimitFile, findings: &mut Findings) -> QueryLimit {
    let QueryLimitFile { place: _, at_least, above, slip, log_only, allow } = file;
    let defaults = QueryLimit::default();
    QueryLimit {
        at_least: at_least.value().map_or(defaults.at_least, |n| u32::try_from(n.0).unwrap_or(u32::MAX)),
        above: above.value().map(|n| u32::try_from(n.0).unwrap_or(u32::MAX)),
        slip: slip.value().and_then(|slip| u8::try_from(slip.0).ok()).unwrap_or(defaults.slip),
        log_only: log_only.value().copied().unwrap_or(defaults.log_only),
        allow: allowed(allow, findings).unwrap_or(defaults.allow),
    }
}

const fn class(word: ClassWord) -> AnswerClass {
    match word {
        ClassWord::Answers => AnswerClass::Static,
        ClassWord::Steered => AnswerClass::Steered,
        ClassWord::Negative => AnswerClass::Negative,
        ClassWord::Referrals => AnswerClass::Referral,
        ClassWord::Errors => AnswerClass::Error,
    }
}

fn lower_encrypted(file: &EncryptedFile, findings: &mut Findings) -> Option<EncryptedListener> {
    let EncryptedFile { place: _, listen, certificate, key } = file;
    Some(EncryptedListener {
        listen: sockets(listen.given()?, findings),
        certificate: PathBuf::from(&certificate.value()?.0),
        key: PathBuf::from(&key.value()?.0),
        span: certificate.given().map_or_else(Span::default, |at| at.place.span),
    })
}

fn lower_reports(file: &ReportsFile) -> Option<ReportsListener> {
    let ReportsFile { place: _, listen, certificate, key, client_ca } = file;
    let tls = EncryptedListener {
        listen: vec![*listen.value()?],
        certificate: PathBuf::from(&certificate.value()?.0),
        key: PathBuf::from(&key.value()?.0),
        span: certificate.given().map_or_else(Span::default, |at| at.place.span),
    };
    Some(ReportsListener { tls, client_ca: client_ca.value().map(|text| PathBuf::from(&text.0)) })
}

fn lower_measure(file: &MeasureFile, findings: &mut Findings) -> Option<MeasureListener> {
    let MeasureFile { place: _, listen, certificate, key, passes, max_age, least_sources } = file;
    let defaults = MeasureRules::default();
    Some(MeasureListener {
        tls: EncryptedListener {
            listen: sockets(listen.given()?, findings),
            certificate: PathBuf::from(&certificate.value()?.0),
            key: PathBuf::from(&key.value()?.0),
            span: certificate.given().map_or_else(Span::default, |at| at.place.span),
        },
        passes: passes.value().map(|text| PathBuf::from(&text.0)),
        passes_span: passes.given().map_or_else(Span::default, |at| at.place.span),
        rules: MeasureRules {
            max_age: max_age.value().map_or(defaults.max_age, |span| span.0),
            least_sources: least_sources.value().map_or(defaults.least_sources, |count| count.0 as usize),
        },
    })
}

fn lower_status_page(file: &StatusPageFile) -> Option<StatusPage> {
    let StatusPageFile { place: _, listen, title, names } = file;
    Some(StatusPage {
        listen: *listen.value()?,
        title: title.value().map_or_else(|| StatusPage::TITLE.to_owned(), |text| text.0.clone()),
        names: names.value().copied().unwrap_or(false),
    })
}

fn lower_query_log(log: &QueryLogFile) -> Option<QueryLogConfig> {
    let QueryLogFile { place: _, sample, to } = log;
    let to = match to.value()?.0.as_str() {
        "stdout" => LogTarget::Stdout,
        file => LogTarget::File(PathBuf::from(file)),
    };
    let sample = sample.value().map_or(DEFAULT_SAMPLE, |n| u32::try_from(n.0).unwrap_or(u32::MAX));
    Some(QueryLogConfig { sample, to })
}

fn lower_dnstap(dnstap: &DnstapFile) -> Option<DnstapConfig> {
    let DnstapFile { place: _, socket, sample } = dnstap;
    let sample = sample.value().map_or(1, |n| u32::try_from(n.0).unwrap_or(u32::MAX));
    Some(DnstapConfig { socket: PathBuf::from(&socket.value()?.0), sample })
}

fn lower_dnssec(dnssec: &DnssecFile) -> Option<DnssecConfig> {
    let DnssecFile { place: _, zones, keys, algorithm } = dnssec;
    let zones_at = zones.given();
    let zones = zones.value().map_or(SignedZones::Listed(Vec::new()), chosen_zones);
    let algorithm = algorithm.value().map_or(Algorithm::default(), |word| match word {
        AlgorithmWord::EcdsaP256Sha256 => Algorithm::EcdsaP256Sha256,
        AlgorithmWord::Ed25519 => Algorithm::Ed25519,
    });
    let keys = keys.value().map_or(DnssecConfig::DEFAULT_KEYS, |text| text.0.as_str());
    let zones_span = zones_at.map_or_else(Span::default, |at| at.place.span);
    Some(DnssecConfig { zones, zones_span, keys: PathBuf::from(keys), algorithm })
}

/// The zones a list names.
pub(super) fn chosen_zones(list: &OneOrMany<ZoneWord>) -> SignedZones {
    let words = || list.0.items.iter().map(|item| &item.value);
    let named = words().filter_map(|word| match word {
        ZoneWord::All => None,
        ZoneWord::Named(origin) => Some(origin.clone()),
    });
    match words().any(|word| *word == ZoneWord::All) {
        true => SignedZones::All,
        false => SignedZones::Listed(named.collect()),
    }
}

/// Sockets to bind: at least one, none twice.
fn sockets(list: &At<OneOrMany<SocketAddr>>, findings: &mut Findings) -> Vec<SocketAddr> {
    let mut seen: Vec<(SocketAddr, Place)> = Vec::new();
    let At { value: OneOrMany(sockets), place } = list;
    if sockets.items.is_empty() && sockets.whole {
        findings
            .report(&codes::WRONG_VALUE, *place, "an empty list of addresses to listen on")
            .help("name at least one, or remove the key for the default");
    }
    for At { value, place } in &sockets.items {
        match seen.iter().find(|(other, _)| other == value) {
            Some((_, first)) => {
                findings
                    .report(&codes::WRONG_VALUE, *place, format!("{value} is listed twice"))
                    .help("an address and port can be bound once")
                    .related(*first, "first listed here");
            }
            None => seen.push((*value, *place)),
        }
    }
    seen.into_iter().map(|(socket, _)| socket).collect()
}
