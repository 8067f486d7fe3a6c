//! The text format of Prometheus, as far as reading samples out of it goes.
//!
//! ```text
//!  selector   node_load1      requests_in_flight{job="edge", mode!="idle"}
//!  document   # HELP …
//!             requests_in_flight{job="edge",mode="busy"} 12 1700000000000
//!             requests_in_flight{job="edge",mode="warm"} 3                    ▶ the sum, 15
//! ```
//! Every sample that matches is added up. Lines that cannot be read are passed over: one odd exporter
//! line does not hide the others. Rates of counters need two readings, and are not computed here.

/// A metric by name and labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    name: String,
    labels: Vec<Condition>,
}

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    labels: Vec<Condition>,
    /// It may be infinite, or no number.
    pub value: f64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    label: String,
    value: String,
    /// `=`, else `!=`.
    is_equal: bool,
}

impl Selector {
    /// # Errors
    /// What is wrong with `text`, in a few words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_at(text.find('{').unwrap_or(text.len()));
        let name = name.trim();
        if !is_name(name) {
            return Err(format!("{name:?} is not the name of a metric"));
        }
        let labels = match rest.strip_prefix('{') {
            None => Vec::new(),
            Some(rest) => {
                let (labels, after) = conditions(rest).ok_or("its labels cannot be read")?;
                if !after.trim().is_empty() {
                    return Err("something follows its labels".to_owned());
                }
                labels
            }
        };
        Ok(Self { name: name.to_owned(), labels })
    }

    /// The sum of the matching samples; `None`: none matches, or the sum is no number.
    pub fn sum(&self, document: &str) -> Option<f64> {
        let matching: Vec<f64> = self.samples(document).map(|sample| sample.value).collect();
        let sum: f64 = matching.iter().sum();
        (!matching.is_empty() && sum.is_finite()).then_some(sum)
    }

    /// The matching samples, as they stand.
    pub fn samples<'a>(&'a self, document: &'a str) -> impl Iterator<Item = Sample> + 'a {
        document.lines().filter_map(|line| self.sample(line))
    }

    /// Whether the document says that there is such a metric, be it with samples or without.
    pub fn is_declared(&self, document: &str) -> bool {
        let names = |line: &str| {
            let rest = line.strip_prefix("# TYPE ").or_else(|| line.strip_prefix("# HELP "))?;
            Some(rest.split_ascii_whitespace().next()? == self.name)
        };
        document.lines().any(|line| names(line).unwrap_or(false))
    }

    /// A line if it is a sample that matches.
    fn sample(&self, line: &str) -> Option<Sample> {
        let rest = line.trim_start().strip_prefix(self.name.as_str())?;
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => conditions(rest)?,
            None if rest.starts_with([' ', '\t']) => (Vec::new(), rest),
            None => return None,
        };
        let value_of = |name: &str| labels.iter().find(|found| found.label == name).map(|found| &found.value);
        // As in PromQL, an absent label is an empty one.
        let holds = |wanted: &Condition| {
            (value_of(&wanted.label).map_or("", String::as_str) == wanted.value) == wanted.is_equal
        };
        if !self.labels.iter().all(holds) {
            return None;
        }
        let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Sample { labels, value })
    }
}

impl Sample {
    /// What a label says; `None`: it is not there.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|found| found.label == name).map(|found| found.value.as_str())
    }
}

fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    text.bytes().all(inner) && text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

/// Labels up to the closing brace, and what follows it.
fn conditions(mut rest: &str) -> Option<(Vec<Condition>, &str)> {
    let mut out = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Some((out, after));
        }
        let (label, after) = rest.split_at(rest.find(['=', '!'])?);
        let (is_equal, after) = match after.strip_prefix("!=") {
            Some(after) => (false, after),
            None => (true, after.strip_prefix('=')?),
        };
        let label = label.trim();
        if !is_name(label) {
            return None;
        }
        let (value, after) = quoted(after.trim_start())?;
        out.push(Condition { label: label.to_owned(), value, is_equal });
        rest = after.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(after) => after,
            None if rest.starts_with('}') => rest,
            None => return None,
        };
    }
}

/// A quoted value with its escapes undone, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut letters = text.strip_prefix('"')?.char_indices();
    let mut value = String::new();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 2..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            _ => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# HELP load1 1m load average.\n# TYPE load1 gauge\nload1 0.42\nload15 9\n\
        busy{job=\"edge\",mode=\"a\"} 12 1700000000000\nbusy{job=\"edge\",mode=\"b\",} 3\nbusy{job=\"x\\\"}\"} 1e2\n\
        busy{job= nonsense\nempty{} 5\nbad NaN\nhuge +Inf\nlast{a=\"1\"} word\n";

    fn check(selector: &str, expected: Option<f64>) {
        let selector = Selector::parse(selector).expect("a selector");
        assert_eq!(selector.sum(DOCUMENT), expected, "{selector:?}");
    }

    #[test]
    fn matching_samples_are_added_up() {
        check("load1", Some(0.42));
        check("busy", Some(115.0));
        check("busy{job=\"edge\"}", Some(15.0));
        check("busy{job=\"edge\", mode!=\"a\"}", Some(3.0));
        check("busy{job=\"x\\\"}\"}", Some(100.0));
        check("busy{mode=\"\"}", Some(100.0));
        check("empty", Some(5.0));
        check("busy{job=\"none\"}", None);
        check("load", None);
        check("bad", None);
        check("huge", None);
        check("last", None);
    }

    #[test]
    fn samples_keep_their_labels() {
        let selector = Selector::parse("busy{job=\"edge\"}").expect("a selector");
        let modes: Vec<_> =
            selector.samples(DOCUMENT).map(|it| it.label("mode").map(str::to_owned)).collect();
        assert_eq!(modes, [Some("a".to_owned()), Some("b".to_owned())]);
        assert!(Selector::parse("load1").expect("a selector").is_declared(DOCUMENT));
        assert!(!selector.is_declared(DOCUMENT), "samples declare nothing");
    }

    #[test]
    fn selectors_that_cannot_be_read_are_refused() {
        for text in [
            "",
            "/mbps",
            "1a",
            "a b",
            "a{",
            "a{b}",
            "a{b=1}",
            "a{b=\"1\"",
            "a{b=\"1\"} c",
            "a{b=~\"1\"}",
            "a{=\"1\"}",
        ] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }
}
