//! Every code that reading a policy folder can report, once.
//!
//! A code is a promise: scripts filter by it and `docs/diagnostics.md` explains it, so it is never
//! renamed or reused. Other modules keep lists of their own in the same shape; `tests/diagnostics.rs`
//! holds codes, documentation and test cases together.

use crate::base::diagnostic::Severity;

/// A kind of diagnostic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Stable, kebab-case.
    pub name: &'static str,
    pub severity: Severity,
    /// One line for lists; the documentation says more.
    pub meaning: &'static str,
}

macro_rules! codes {
    ($($constant:ident = $severity:ident $name:literal, $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $constant: Code =
                Code { name: $name, severity: Severity::$severity, meaning: $meaning };
        )*

        /// All codes of this module, in the order of the documentation.
        pub const POLICY: &[Code] = &[$($constant),*];
    };
}

codes! {
    // Text and shape.
    YAML_SYNTAX = Error "yaml-syntax", "the file is not one YAML document that can be read";
    MISSING_VERSION = Error "missing-version", "the file does not say which version of the policy language it is in";
    UNSUPPORTED_VERSION = Error "unsupported-version", "the file is in a version of the policy language that this rhumb does not read";
    UNKNOWN_KEY = Error "unknown-key", "a key that means nothing at its place";
    DUPLICATE_KEY = Error "duplicate-key", "a key given twice in one mapping";
    MISSING_KEY = Error "missing-key", "a key that must be there is not";
    WRONG_TYPE = Error "wrong-type", "a value of the wrong shape: a list for a number, say";
    WRONG_VALUE = Error "wrong-value", "a value of the right shape that makes no sense or is out of range";
    UNKNOWN_FILE = Warning "unknown-file", "a file of the folder that nothing reads";
    LISTENER_CONFLICT = Error "listener-conflict", "one address and port for two listeners over the same protocol";
    ADMIN_IN_CLEAR = Error "admin-in-clear", "an admin address off loopback without a certificate";
    BAD_PLANNER = Error "bad-planner", "settings of the planner that contradict each other";
    TOO_MANY = Error "too-many", "more of something than a policy may have";

    // References and names.
    UNKNOWN_REGION = Error "unknown-region", "a region that fleet.yaml does not define";
    UNKNOWN_SITE = Error "unknown-site", "a site that fleet.yaml does not define";
    UNKNOWN_NODE = Error "unknown-node", "a node that fleet.yaml does not define";
    UNKNOWN_LINE = Error "unknown-line", "a carrier line that clients.yaml does not define";
    UNKNOWN_AREA = Error "unknown-area", "an area that clients.yaml does not define";
    UNKNOWN_POOL = Error "unknown-pool", "a pool that the service does not define";
    UNKNOWN_PROFILE = Error "unknown-profile", "a profile that neither rhumb nor profiles.yaml defines";
    UNKNOWN_SERVICE = Error "unknown-service", "a service that no file of services/ defines";
    DUPLICATE_NAME = Error "duplicate-name", "two services of one name";
    BUILT_IN_NAME = Error "built-in-name", "a profile named like one that rhumb comes with";
    BAD_HOSTNAME = Error "bad-hostname", "not a name that DNS can carry";
    DUPLICATE_HOSTNAME = Error "duplicate-hostname", "one hostname steered twice";

    // Fleet.
    DUPLICATE_ADDRESS = Error "duplicate-address", "one address given to two nodes, or twice to one";
    ZERO_CAPACITY = Error "zero-capacity", "a capacity of zero, which nothing can be planned onto";
    TARGET_ABOVE_CAP = Error "target-above-cap", "a soft target above the hard cap";
    MONEY_OUTWEIGHS = Warning "money-outweighs", "a node whose price leaves distance nothing to decide";
    NODE_WITHOUT_PROBE = Warning "node-without-probe", "a node that nothing watches: it counts as up";
    FAMILY_WITHOUT_PROBE = Warning "family-without-probe", "an address family of a node that no probe watches";
    PROBE_FAMILY_MISSING = Error "probe-family-missing", "a probe target of an address family that the node lacks";
    TIMEOUT_TOO_LONG = Warning "timeout-too-long", "a probe that waits longer for one answer than all its failures take";
    BAD_PATTERN = Error "bad-pattern", "not a regular expression";
    COMMANDS_NOT_ALLOWED = Error "commands-not-allowed", "a probe that runs a program where rhumb.yaml does not allow it";
    VANTAGE_UNHEARD = Warning "vantage-unheard", "a vantage that has no way to report";
    BAD_URL = Error "bad-url", "not a URL that a load feed can be read from";
    BAD_JSON_POINTER = Error "bad-json-pointer", "not a JSON pointer (RFC 6901)";
    BAD_METRIC = Error "bad-metric", "not a metric of Prometheus' text format";

    // Clients.
    BAD_CIDR = Error "bad-cidr", "not an address or network";
    CIDR_HOST_BITS = Error "cidr-host-bits", "a network with bits set past its prefix length";
    DUPLICATE_OVERRIDE = Error "duplicate-override", "two overrides of one network";
    DUPLICATE_ASN = Error "duplicate-asn", "one autonomous system in two carrier lines";
    UNKNOWN_COUNTRY = Error "unknown-country", "not a country code of ISO 3166-1";
    UNKNOWN_CONTINENT = Error "unknown-continent", "not a continent code";
    BAD_SUBDIVISION = Error "bad-subdivision", "not a subdivision code of ISO 3166-2";
    EMPTY_AREA = Error "empty-area", "an area that no client can be in";

    // Services.
    SELECTOR_MATCHES_NOTHING = Error "selector-matches-nothing", "a selector that no node matches";
    EMPTY_POOL = Error "empty-pool", "a pool that neither selects nor lists a node";
    SERVICE_LOOP = Error "service-loop", "services whose pools lead back to themselves";
    BAD_METHOD = Error "bad-method", "a pool with a method that its nodes cannot follow";
    BIAS_WITHOUT_EFFECT = Warning "bias-without-effect", "a bias that changes nobody's choice";
    BAD_SHED = Error "bad-shed", "a shed answer that is none or several, or contradicts the rest of the service";
    UNUSED_POOL = Warning "unused-pool", "a pool that no chain names";
    MISSING_CATCH_ALL = Error "missing-catch-all", "a chain that leaves some clients without a rule";
    SHADOWED_RULE = Error "shadowed-rule", "a rule that no client can reach";
    TTL_OUT_OF_BOUNDS = Error "ttl-out-of-bounds", "a TTL that is too short to be cached or too long to recover";
    RECOVERY_TOO_SLOW = Error "recovery-too-slow", "the worst-case recovery time is above the declared tier";
    EMPTY_FALLBACK = Error "empty-fallback", "a fallback without an address";
    BAD_TEMPLATE = Error "bad-template", "a template that some node cannot fill, or that does not become what it should";
    BAD_BINDING = Error "bad-binding", "parameters of an HTTPS or SVCB record that are malformed or contradict each other";

    // Alerts.
    MIXED_SUBJECTS = Error "mixed-subjects", "conditions of nodes, services and the instance in one alert rule";
    CREDENTIALS_IN_CLEAR = Warning "credentials-in-clear", "a receiver that would be sent its token over plain http";

    // Drills.
    DRILL_NEVER_DUE = Error "drill-never-due", "a schedule whose dates are all within the drill's blackout";
    DRILL_TOO_SHORT = Warning "drill-too-short", "a drill that is over before caches forget";
}
