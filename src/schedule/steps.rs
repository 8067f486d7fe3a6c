//! A step of the ladder in words: for causes, the log and the journal.

use super::degrade::RungStep;
use crate::model::policy::Policy;
use std::cmp::Ordering;

impl RungStep {
    /// Service and area, by name; `*`: the catch-all.
    pub fn names<'p>(&self, policy: &'p Policy) -> (&'p str, String) {
        let service = policy.service(self.service);
        let rule = service.chains.get(usize::from(self.rule));
        let area = rule.and_then(|rule| rule.area_name(&policy.clients));
        (&service.name, area.unwrap_or_else(|| "*".to_owned()))
    }

    /// `live, area europe: shed, 20 % of newcomers shed (10 % before) at 97 % of capacity, above its `enter` of 90 %`.
    pub fn told(&self, policy: &Policy) -> String {
        let (service, area) = self.names(policy);
        let (shed, before) = (self.shed.percent(), self.shed_before.percent());
        let rung = match self.from == self.to {
            true => self.to.to_string(),
            false => format!("{} -> {}", self.from, self.to),
        };
        let mut told = format!("{service}, area {area}: {rung}");
        if self.shed != self.shed_before {
            told.push_str(&format!(", {shed:.0} % of newcomers shed ({before:.0} % before)"));
        }
        let Some(used) = self.utilisation else { return told };
        told.push_str(&format!(" at {:.0} % of capacity", used.percent()));
        let Some(rule) = &policy.service(self.service).shed else { return told };
        match self.shed.cmp(&self.shed_before) {
            Ordering::Greater => {
                told.push_str(&format!(", above its `enter` of {:.0} %", rule.enter.percent()));
            }
            Ordering::Less => told.push_str(&format!(", below its `exit` of {:.0} %", rule.exit.percent())),
            Ordering::Equal => {}
        }
        told
    }
}
