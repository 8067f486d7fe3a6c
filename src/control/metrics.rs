//! `/metrics`: the status as Prometheus text.
//!
//! The text is made from one [`Status`] per scrape with a recorder of its own, so a node that left
//! the policy leaves the metrics too, and nothing global is touched.

use crate::base::prefix::Family;
use crate::model::canary::CanaryBrief;
use crate::model::degradation::{Rung, RungStatus};
use crate::model::demand::DemandCounts;
use crate::model::held_back::HeldBy;
use crate::model::overrides::{Action, OverrideStatus};
use crate::model::status::{MeasureCounts, NodeStatus, QueryCounts, ReportCounts, Status, Traffic};
use crate::model::verdict::Verdict;
use metrics::{counter, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;

/// Prometheus text exposition of `status` and `traffic`; `is_healthy`: the writer is at work.
pub fn render(status: &Status, traffic: &Traffic, is_healthy: bool) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        describe();
        describe_overrides();
        table(status);
        shortfall(status);
        gauge!("rhumb_writer_up").set(if is_healthy { 1.0 } else { 0.0 });
        queries(&traffic.queries);
        sockets(traffic);
        reports(&traffic.reports);
        measured(traffic.measured);
        status.nodes.iter().for_each(node);
        overrides(status);
        canary(status);
        alerts(status);
    });
    handle.run_upkeep();
    handle.render()
}

fn describe() {
    use metrics::{describe_counter as counter, describe_gauge as gauge};
    gauge!("rhumb_table_generation", "number of the live table");
    gauge!("rhumb_table_age_seconds", "time since the live table was published");
    gauge!("rhumb_problems", "things an operator should look at, by code");
    gauge!("rhumb_groups_all_down", "client groups answered by on_all_down, by service");
    describe_demand();
    gauge!("rhumb_rung", "1 for the rung of the degradation ladder that the clients of an area are on");
    gauge!("rhumb_shed_ratio", "share of newcomers that is shed, by service and area");
    gauge!("rhumb_area_utilisation_ratio", "load against the capacity of all that an area's chain offers");
    gauge!("rhumb_area_spilled_ratio", "share of an area's demand on nodes of a later pool");
    counter!("rhumb_responses_shed_total", "answers to newcomers who were shed");
    counter!("rhumb_queries_total", "queries received, by transport");
    counter!("rhumb_responses_total", "responses sent, by outcome");
    counter!(
        "rhumb_responses_limited_total",
        "responses above a rate limit, by what became of them: slipped (sent without records), dropped, logged (sent)"
    );
    counter!(
        "rhumb_queries_limited_total",
        "queries above their prefix's share while workers got too many, by what became of them: slipped \
         (answered without records), dropped, logged and verified (answered)"
    );
    counter!(
        "rhumb_query_pressure_milliseconds_total",
        "time in which workers got more queries than they could answer, summed over them"
    );
    counter!("rhumb_responses_truncated_total", "responses with the TC bit");
    counter!("rhumb_responses_unsent_total", "responses that the kernel would not take");
    counter!("rhumb_queries_unanswered_total", "packets that got no response on purpose");
    counter!("rhumb_connections_opened_total", "connections accepted, by transport");
    counter!("rhumb_connections_refused_total", "connections turned away by a limit, by transport");
    counter!("rhumb_connections_evicted_total", "connections cut to make room for newer ones, by transport");
    gauge!("rhumb_connections", "connections open now, by transport");
    counter!(
        "rhumb_observations_dropped_total",
        "probe results that a writer with a full queue did not take"
    );
    counter!("rhumb_query_log_records_total", "queries picked to be logged, by log");
    counter!("rhumb_query_log_lost_total", "of those, the ones that a slow or absent log did not take");
    gauge!("rhumb_alerts", "alerts that stand, by rule and severity");
    counter!("rhumb_alerts_sent_total", "messages that a receiver of alerts took");
    counter!("rhumb_alerts_failed_total", "attempts to tell a receiver of alerts that failed");
    gauge!("rhumb_alerts_pending", "alerts, or ends of alerts, that a receiver was not told of yet");
    gauge!("rhumb_alerts_receiver_up", "0 while a receiver of alerts cannot be reached");
    gauge!("rhumb_expiry_timestamp_seconds", "when a certificate, key or signature of this instance ends");
    gauge!("rhumb_vantages_connected", "remote vantages that report now");
    counter!(
        "rhumb_vantage_observations_total",
        "observations of remote vantages, by what became of them: taken, passed_over (too old, or of a former \
         fleet), surplus (more than probes can make), lost (never sent, as the vantages say)"
    );
    counter!("rhumb_reports_connections_total", "connections to the listener for reports");
    counter!("rhumb_reports_refused_total", "of those, the ones turned away or cut");
    counter!("rhumb_measurements_total", "paths that clients measured");
    counter!("rhumb_measurements_refused_total", "requests with measurements that were refused");
    counter!("rhumb_load_pushed_total", "load that nodes pushed, by what became of it");
    gauge!("rhumb_writer_up", "1 while verdicts, plans and tables are being made");
    gauge!("rhumb_node_verdict", "1 for the verdict a node has on a family");
    gauge!("rhumb_node_rtt_seconds", "smoothed round trip of probes");
    gauge!("rhumb_node_loss_ratio", "share of probes lost over the window");
    gauge!("rhumb_node_utilisation_ratio", "worst resource against its capacity");
    gauge!("rhumb_node_share_ratio", "share of planned demand");
}

fn describe_demand() {
    use metrics::{describe_counter as counter, describe_gauge as gauge};
    counter!(
        "rhumb_demand_queries_total",
        "steered queries counted as demand, by service and by whether it is verified who asks (stream or cookie, and no client subnet)"
    );
    counter!(
        "rhumb_demand_drawn_total",
        "shares of client groups drawn anew from counts or reports, by service"
    );
    gauge!("rhumb_demand_confidence_ratio", "how much of a service's shares is counted and not assumed");
    gauge!("rhumb_demand_caches", "least number of caches that ask as often as a service is asked");
    gauge!(
        "rhumb_demand_reported_ratio",
        "part of a service's plan that goes by what nodes report of clients"
    );
    gauge!("rhumb_demand_silent_reporters", "nodes that fell silent with so much that shares wait for them");
}

fn table(status: &Status) {
    gauge!("rhumb_table_generation").set(status.table.generation.0 as f64);
    let age_ms = status.now.0.saturating_sub(status.table.published_at.0);
    gauge!("rhumb_table_age_seconds").set(age_ms as f64 / 1e3);
    for problem in &status.problems {
        gauge!("rhumb_problems", "code" => problem.code.clone()).increment(1.0);
    }
    for service in &status.services {
        let all_down = gauge!("rhumb_groups_all_down", "service" => service.name.clone());
        all_down.set(f64::from(service.groups_all_down));
        demand(&service.name, &service.demand);
        service.rungs.iter().for_each(|area| rung(&service.name, area));
    }
}

fn rung(service: &str, of: &RungStatus) {
    let service = || service.to_owned();
    let area = || of.area.clone().unwrap_or_else(|| "*".to_owned());
    for rung in Rung::ALL {
        let is = if of.rung == rung { 1.0 } else { 0.0 };
        gauge!("rhumb_rung", "service" => service(), "area" => area(), "rung" => rung.name()).set(is);
    }
    gauge!("rhumb_shed_ratio", "service" => service(), "area" => area()).set(of.shed.fraction());
    gauge!("rhumb_area_spilled_ratio", "service" => service(), "area" => area()).set(of.spilled.fraction());
    if let Some(used) = of.utilisation {
        gauge!("rhumb_area_utilisation_ratio", "service" => service(), "area" => area()).set(used.fraction());
    }
}

/// Moves that are not made, and demand that finds no room.
fn shortfall(status: &Status) {
    use metrics::describe_gauge as describe;
    describe!(
        "rhumb_planner_held_back_ratio",
        "share of a service's demand that would be moved, by the rule that holds it"
    );
    describe!("rhumb_planner_held_back_groups", "client groups that would be moved, by service and rule");
    describe!("rhumb_planner_held_back_seconds", "how long the oldest of them waits, by service and rule");
    describe!("rhumb_planner_budget_left_ratio", "share of all demand that may still be moved by choice");
    describe!("rhumb_planner_frozen", "1 while nobody is moved by choice");
    describe!("rhumb_over_capacity_ratio", "share of a service's demand above what its nodes may be given");
    describe!("rhumb_over_capacity_units", "the same in units of capacity");
    let held = &status.held_back;
    gauge!("rhumb_planner_budget_left_ratio").set(held.budget.left.fraction());
    gauge!("rhumb_planner_frozen").set(if held.is_frozen { 1.0 } else { 0.0 });
    for service in &status.services {
        for by in HeldBy::ALL {
            let rule = held.rules.iter().find(|rule| rule.by == by && rule.service == service.name);
            let labels = [("service", service.name.clone()), ("rule", by.name().to_owned())];
            let share = rule.map_or(0.0, |rule| rule.share.fraction());
            gauge!("rhumb_planner_held_back_ratio", &labels).set(share);
            let Some(rule) = rule else { continue };
            gauge!("rhumb_planner_held_back_groups", &labels).set(f64::from(rule.groups));
            gauge!("rhumb_planner_held_back_seconds", &labels).set(rule.for_ms as f64 / 1e3);
        }
        let over = service.over_capacity.as_ref();
        let share = over.map_or(0.0, |over| over.share.fraction());
        gauge!("rhumb_over_capacity_ratio", "service" => service.name.clone()).set(share);
        let units = over.map_or(0, |over| over.units);
        gauge!("rhumb_over_capacity_units", "service" => service.name.clone()).set(units as f64);
    }
}

fn demand(service: &str, counts: &DemandCounts) {
    for (kind, count) in [("yes", counts.verified), ("no", counts.forgeable)] {
        let labels = [("service", service.to_owned()), ("verified", kind.to_owned())];
        counter!("rhumb_demand_queries_total", &labels).absolute(count);
    }
    let name = || service.to_owned();
    counter!("rhumb_demand_drawn_total", "service" => name()).absolute(counts.drawn);
    gauge!("rhumb_demand_confidence_ratio", "service" => name()).set(counts.confidence.fraction());
    gauge!("rhumb_demand_caches", "service" => name()).set(counts.caches as f64);
    gauge!("rhumb_demand_reported_ratio", "service" => name()).set(counts.reported.fraction());
    gauge!("rhumb_demand_silent_reporters", "service" => name()).set(f64::from(counts.silent));
}

fn queries(counts: &QueryCounts) {
    let by_transport = [
        ("udp", counts.udp),
        ("tcp", counts.tcp),
        ("dot", counts.dot),
        ("doh", counts.doh),
        ("doq", counts.doq),
    ];
    for (transport, count) in by_transport {
        counter!("rhumb_queries_total", "transport" => transport).absolute(count);
    }
    let outcomes = [
        ("answered", counts.answered),
        ("nodata", counts.nodata),
        ("nxdomain", counts.nxdomain),
        ("refused", counts.refused),
        ("formerr", counts.formerr),
        ("notimp", counts.notimp),
        ("servfail", counts.servfail),
        ("badvers", counts.badvers),
        ("badcookie", counts.badcookie),
        ("dropped", counts.dropped),
    ];
    for (outcome, count) in outcomes {
        counter!("rhumb_responses_total", "outcome" => outcome).absolute(count);
    }
    let limited = [
        ("slipped", counts.limit_slipped),
        ("dropped", counts.limit_dropped),
        ("logged", counts.limit_logged),
    ];
    for (action, count) in limited {
        counter!("rhumb_responses_limited_total", "action" => action).absolute(count);
    }
    let shared = [
        ("slipped", counts.share_slipped),
        ("dropped", counts.share_dropped),
        ("logged", counts.share_logged),
        ("verified", counts.share_verified),
    ];
    for (action, count) in shared {
        counter!("rhumb_queries_limited_total", "action" => action).absolute(count);
    }
    counter!("rhumb_query_pressure_milliseconds_total").absolute(counts.pressed_ms);
    counter!("rhumb_responses_shed_total").absolute(counts.shed);
}

fn sockets(traffic: &Traffic) {
    let by_transport =
        [("tcp", traffic.tcp), ("dot", traffic.dot), ("doh", traffic.doh), ("doq", traffic.doq)];
    for (transport, connections) in by_transport {
        counter!("rhumb_connections_opened_total", "transport" => transport).absolute(connections.opened);
        counter!("rhumb_connections_refused_total", "transport" => transport).absolute(connections.refused);
        counter!("rhumb_connections_evicted_total", "transport" => transport).absolute(connections.evicted);
        gauge!("rhumb_connections", "transport" => transport).set(connections.open as f64);
    }
    counter!("rhumb_responses_truncated_total").absolute(traffic.truncated);
    counter!("rhumb_responses_unsent_total").absolute(traffic.unsent);
    counter!("rhumb_queries_unanswered_total").absolute(traffic.unanswered);
    for (log, counts) in [("lines", traffic.query_log), ("dnstap", traffic.dnstap)] {
        counter!("rhumb_query_log_records_total", "log" => log).absolute(counts.taken);
        counter!("rhumb_query_log_lost_total", "log" => log).absolute(counts.lost);
    }
    counter!("rhumb_observations_dropped_total").absolute(traffic.observations_dropped);
}

fn alerts(status: &Status) {
    gauge!("rhumb_incidents_open").set(status.incidents.len() as f64);
    for alert in &status.alerts {
        let labels = [("rule", alert.rule.clone()), ("severity", alert.severity.name().to_owned())];
        gauge!("rhumb_alerts", &labels).increment(1.0);
    }
    for receiver in &status.receivers {
        let name = || receiver.name.clone();
        counter!("rhumb_alerts_sent_total", "receiver" => name()).absolute(receiver.sent);
        counter!("rhumb_alerts_failed_total", "receiver" => name()).absolute(receiver.failed);
        gauge!("rhumb_alerts_pending", "receiver" => name()).set(f64::from(receiver.pending));
        let is_up = if receiver.failing_since.is_none() { 1.0 } else { 0.0 };
        gauge!("rhumb_alerts_receiver_up", "receiver" => name()).set(is_up);
    }
    for expiry in &status.expiries {
        let (kind, name) = (expiry.kind.name(), expiry.name.clone());
        gauge!("rhumb_expiry_timestamp_seconds", "kind" => kind, "name" => name)
            .set(expiry.at.0 as f64 / 1e3);
    }
}

fn reports(counts: &ReportCounts) {
    gauge!("rhumb_vantages_connected").set(counts.connected as f64);
    let observations = [
        ("taken", counts.observations),
        ("passed_over", counts.passed_over),
        ("surplus", counts.surplus),
        ("lost", counts.lost),
    ];
    for (outcome, count) in observations {
        counter!("rhumb_vantage_observations_total", "outcome" => outcome).absolute(count);
    }
    counter!("rhumb_reports_connections_total").absolute(counts.connections);
    counter!("rhumb_reports_refused_total").absolute(counts.refused);
    counter!("rhumb_load_pushed_total", "outcome" => "taken").absolute(counts.pushes);
    counter!("rhumb_load_pushed_total", "outcome" => "refused").absolute(counts.pushes_refused);
}

fn measured(counts: MeasureCounts) {
    counter!("rhumb_measurements_total").absolute(counts.taken);
    counter!("rhumb_measurements_refused_total").absolute(counts.refused);
}

fn describe_overrides() {
    use metrics::describe_gauge as gauge;
    gauge!("rhumb_incidents_open", "incidents that are not over");
    gauge!("rhumb_node_forced", "1 for what an operator says of a node, whatever its verdict");
    gauge!("rhumb_overrides", "overrides in force, by what they do");
    gauge!("rhumb_override_remaining_seconds", "how long an override goes on unless it is extended");
}

/// How many there are, and how long each goes on.
fn overrides(status: &Status) {
    for action in Action::ALL {
        let count = status.overrides.iter().filter(|it| it.set.action == action).count();
        gauge!("rhumb_overrides", "action" => action.name()).set(count as f64);
    }
    for OverrideStatus { set, .. } in &status.overrides {
        let left_ms = set.expires_at.0.saturating_sub(status.now.0);
        let (id, target) = (set.id.to_string(), set.target.to_string());
        gauge!("rhumb_override_remaining_seconds", "id" => id, "action" => set.action.name(), "target" => target)
            .set(left_ms as f64 / 1e3);
    }
}

/// One that runs, as it goes; of the last one how it ended.
fn canary(status: &Status) {
    use metrics::describe_gauge as describe;
    describe!("rhumb_canary_running", "1 while clients are held for a canary");
    describe!("rhumb_canary_outcome", "1 for what the canary is: running, held, promoted or aborted");
    describe!("rhumb_canary_share_ratio", "share of demand in the canary");
    describe!("rhumb_canary_remaining_seconds", "until the canary goes to all");
    describe!("rhumb_canary_looks", "comparisons made of the canary");
    describe!("rhumb_canary_latency_difference_seconds", "how much more the round trip of its clients rose");
    describe!("rhumb_canary_loss_difference_ratio", "how much more the loss of its clients rose");
    describe!("rhumb_canary_p_value", "probability of the difference by chance, by measure");
    let is_open = |canary: &&CanaryBrief| ["running", "held"].contains(&canary.stage.as_str());
    let Some(canary) = &status.canary else {
        gauge!("rhumb_canary_running").set(0.0);
        return;
    };
    gauge!("rhumb_canary_outcome", "is" => canary.stage.clone()).set(1.0);
    let open = Some(canary).filter(is_open);
    gauge!("rhumb_canary_running").set(if open.is_some() { 1.0 } else { 0.0 });
    let Some(canary) = open else { return };
    gauge!("rhumb_canary_share_ratio").set(canary.reached.fraction());
    gauge!("rhumb_canary_remaining_seconds").set(canary.until.0.saturating_sub(status.now.0) as f64 / 1e3);
    gauge!("rhumb_canary_looks").set(f64::from(canary.looks));
    if let Some([difference, p]) = canary.latency {
        gauge!("rhumb_canary_latency_difference_seconds").set(difference / 1e6);
        gauge!("rhumb_canary_p_value", "of" => "latency").set(p);
    }
    if let Some([difference, p]) = canary.loss {
        gauge!("rhumb_canary_loss_difference_ratio").set(difference / 1e6);
        gauge!("rhumb_canary_p_value", "of" => "loss").set(p);
    }
}

fn node(node: &NodeStatus) {
    let name = || node.name.clone();
    if let Some(action) = node.health.forced_as() {
        gauge!("rhumb_node_forced", "node" => name(), "action" => action.name()).set(1.0);
    }
    gauge!("rhumb_node_share_ratio", "node" => name()).set(node.share.fraction());
    if let Some(load) = &node.health.load {
        let utilisation =
            gauge!("rhumb_node_utilisation_ratio", "node" => name(), "resource" => load.binding.clone());
        utilisation.set(load.utilisation.fraction());
    }
    for family in Family::BOTH {
        let Some(health) = node.health.family(family) else { continue };
        let label = if family == Family::V4 { "ipv4" } else { "ipv6" };
        for verdict in [Verdict::Up, Verdict::Degraded, Verdict::Unknown, Verdict::Down] {
            let is = if health.verdict == verdict { 1.0 } else { 0.0 };
            gauge!("rhumb_node_verdict", "node" => name(), "family" => label, "verdict" => verdict.name())
                .set(is);
        }
        if let Some(rtt) = health.rtt {
            gauge!("rhumb_node_rtt_seconds", "node" => name(), "family" => label).set(f64::from(rtt.0) / 1e6);
        }
        gauge!("rhumb_node_loss_ratio", "node" => name(), "family" => label).set(health.loss.fraction());
    }
}
