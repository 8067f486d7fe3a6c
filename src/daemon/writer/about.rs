//! What problems are of: who tells them, and replaces what was told before.

/// Subjects whose problems are replaced together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    Inputs,
    /// An edit that guardrails or rules speak against.
    Edit,
    /// Reading back what a former run kept.
    Recovery,
    /// Writing it.
    State,
    /// How the process had to begin; told until a table is published as planned.
    FirstTable,
    Table,
    /// A plan that was published though it breaks a promise.
    Plan,
    Signing,
    Certificate,
    ReportsCertificate,
    /// Keys of zone transfer.
    Transfer,
    /// Vantages that are distrusted, a frozen table.
    Trust,
    /// Measured latencies.
    Latencies,
    /// Probes that cannot be made.
    Probes,
    /// Regions whose circuit is not closed.
    Circuits,
    /// Nodes and regions that a safety rule keeps in.
    KeptIn,
    /// Receivers of alerts that cannot be reached.
    Alerts,
    /// The history of policies, as it was found.
    History,
    /// Tokens and the audit log, as they were found.
    Operators,
    /// Writing the audit log.
    Audit,
    /// Handing the audit log on.
    AuditCopy,
    AdminCertificate,
    /// Overrides of a former run that cannot be read.
    Overrides,
    /// Events that the fleet is not ready for.
    Events,
    /// Drills that wait for a word.
    DrillDates,
    /// Drills that could not be restored.
    DrillsLeft,
    /// A canary that somebody has to decide about.
    Canary,
}
