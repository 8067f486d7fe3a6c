//! `admin` and `admin_access` of `rhumb.yaml`: in clear on loopback only.

use crate::model::alert::AlertReceiver;
use crate::model::policy::{AdminAccess, EncryptedListener};
use crate::policy::codes;
use crate::policy::files::server::{AdminAccessFile, AuditWebhookFile};
use crate::policy::findings::{At, Findings};
use crate::policy::lower::alerts::warn_of_clear_text;
use crate::policy::read::Slot;
use crate::policy::scalars::Text;
use std::net::SocketAddr;
use std::path::PathBuf;

pub(super) fn lower(
    file: Option<&AdminAccessFile>,
    admin: &Slot<SocketAddr>,
    findings: &mut Findings,
) -> AdminAccess {
    let tls = file.and_then(|file| tls(file, findings));
    if let (None, Some(At { value, place })) = (&tls, admin.given())
        && !value.ip().is_loopback()
    {
        findings.report(&codes::ADMIN_IN_CLEAR, *place, format!("{value} would be served in clear")).help(
            "give `admin_access:` a certificate and a key, or keep the admin address on 127.0.0.1 or [::1]",
        );
    }
    let Some(file) = file else {
        return AdminAccess::default();
    };
    let AdminAccessFile { place: _, certificate: _, key: _, metrics, audit_copy, audit_webhook } = file;
    AdminAccess {
        tls,
        metrics: super::server::allowed(metrics, findings).unwrap_or_default(),
        audit_copy: audit_copy.value().map(|text| PathBuf::from(&text.0)),
        audit_webhook: audit_webhook.value().and_then(|file| webhook(file, findings)),
    }
}

fn webhook(file: &AuditWebhookFile, findings: &mut Findings) -> Option<AlertReceiver> {
    let AuditWebhookFile { place: _, url, authorization_file, ca } = file;
    let given = url.given()?;
    if !authorization_file.is_absent() {
        warn_of_clear_text(given, findings);
    }
    let path = |slot: &Slot<Text>| slot.value().map(|text| PathBuf::from(&text.0));
    Some(AlertReceiver {
        authorization_file: path(authorization_file),
        ca: path(ca),
        ..AlertReceiver::webhook("audit", &given.value.0)
    })
}

fn tls(file: &AdminAccessFile, findings: &mut Findings) -> Option<EncryptedListener> {
    let alone = |given: &At<Text>, missing: &str, findings: &mut Findings| {
        let message = format!("there is no `{missing}` to go with it");
        findings
            .report(&codes::WRONG_VALUE, given.place, message)
            .help("TLS takes both, `certificate` and `key`; leave out both to serve loopback in clear");
    };
    match (file.certificate.given(), file.key.given()) {
        (Some(certificate), Some(key)) => Some(EncryptedListener {
            listen: Vec::new(),
            certificate: PathBuf::from(&certificate.value.0),
            key: PathBuf::from(&key.value.0),
            span: certificate.place.span,
        }),
        (Some(given), None) => {
            alone(given, "key", findings);
            None
        }
        (None, Some(given)) => {
            alone(given, "certificate", findings);
            None
        }
        (None, None) => None,
    }
}
