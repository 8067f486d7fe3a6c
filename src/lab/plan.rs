//! Which sockets a lab fleet needs: from the policy's fleet to addresses and routes.
//!
//! Every address that a probe or a load feed of a node names becomes an endpoint of that node: a
//! TCP listener with the probe's and the feed's paths, and a UDP echo on the same address. Only
//! loopback is served: the lab must be unable to answer for anything real.

use super::LabError;
use super::load::{FeedShape, Reading};
use crate::model::fleet::{Fleet, HttpProbe, Node, ProbeKind};
use serde_json::Value;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// One address of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: SocketAddr,
    pub routes: Vec<Route>,
}

/// What is served at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub path: String,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// What the probe wants to see.
    Health { status: u16, body: String },
    /// The load feed.
    Load(FeedShape),
}

/// The endpoints of every node, by position in the fleet.
pub fn endpoints(fleet: &Fleet) -> Result<Vec<Vec<Endpoint>>, LabError> {
    let mut owners: HashMap<SocketAddr, &str> = HashMap::new();
    let mut all = Vec::with_capacity(fleet.nodes.len());
    for node in &fleet.nodes {
        let endpoints = node_endpoints(node)?;
        for endpoint in &endpoints {
            if let Some(other) = owners.insert(endpoint.address, &node.name) {
                let (node, other) = (node.name.clone(), other.to_owned());
                return Err(LabError::SharedAddress { node, other, address: endpoint.address });
            }
        }
        all.push(endpoints);
    }
    Ok(all)
}

fn node_endpoints(node: &Node) -> Result<Vec<Endpoint>, LabError> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for probe in &node.probes {
        for &address in probe.targets.iter().flatten() {
            loopback_only(node, "probe target", address)?;
            let route = match &probe.kind {
                ProbeKind::Tcp => None,
                ProbeKind::Http(http) if http.tls => {
                    return Err(LabError::Tls { node: node.name.clone(), address });
                }
                ProbeKind::Http(http) => Some(health_route(&node.name, http)),
                other => {
                    let (node, kind) = (node.name.clone(), other.name());
                    return Err(LabError::Kind { node, kind });
                }
            };
            add(&mut endpoints, address, route);
        }
    }
    // A feed that is pushed has nobody to ask: the lab's nodes only answer.
    if let Some((feed, url)) = node.load.as_ref().and_then(|feed| Some((feed, feed.url()?))) {
        let (address, path) = feed_address(node, url)?;
        loopback_only(node, "load feed", address)?;
        let (amount, ratios, clients) = (feed.amount.clone(), feed.ratios.clone(), feed.clients.clone());
        let shape = FeedShape { amount, ratios, clients };
        shape.document(Reading::default(), Value::Null).map_err(|why| LabError::LoadFeed {
            node: node.name.clone(),
            url: url.to_owned(),
            why,
        })?;
        add(&mut endpoints, address, Some(Route { path, content: Content::Load(shape) }));
    }
    Ok(endpoints)
}

/// Several probes may ask one path; the first to name it says the status, every expected text is in
/// the body.
fn add(endpoints: &mut Vec<Endpoint>, address: SocketAddr, route: Option<Route>) {
    let at = endpoints.iter().position(|endpoint| endpoint.address == address).unwrap_or_else(|| {
        endpoints.push(Endpoint { address, routes: Vec::new() });
        endpoints.len() - 1
    });
    let Some(route) = route else { return };
    let routes = &mut endpoints[at].routes;
    match routes.iter_mut().find(|old| old.path == route.path) {
        Some(Route { content: Content::Health { body, .. }, .. }) => {
            if let Content::Health { body: more, .. } = route.content
                && !body.contains(&more)
            {
                body.push_str(&more);
            }
        }
        Some(_) => {}
        None => routes.push(route),
    }
}

fn health_route(node: &str, http: &HttpProbe) -> Route {
    let accepts = |status: u16| http.status.iter().any(|&(low, high)| (low..=high).contains(&status));
    let first = http.status.first().map_or(200, |&(low, _)| low);
    let status = if http.status.is_empty() || accepts(200) { 200 } else { first };
    let expected = http.body.as_deref().unwrap_or("ok");
    let content = Content::Health { status, body: format!("{expected}\n{node} of the rhumb lab\n") };
    Route { path: path_only(&http.path).to_owned(), content }
}

/// A path without its query: the server routes by path alone.
pub fn path_only(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or(target)
}

fn feed_address(node: &Node, url: &str) -> Result<(SocketAddr, String), LabError> {
    let bad =
        |why: &str| LabError::LoadFeed { node: node.name.clone(), url: url.to_owned(), why: why.to_owned() };
    let url = reqwest::Url::parse(url).map_err(|_| bad("it is not a URL"))?;
    if url.scheme() != "http" {
        return Err(bad("the lab serves plain http only"));
    }
    let host = url.host_str().ok_or_else(|| bad("it names no host"))?;
    let host: IpAddr = host
        .trim_matches(['[', ']'])
        .parse()
        .map_err(|_| bad("its host is a name; the lab needs a loopback address"))?;
    let port = url.port_or_known_default().ok_or_else(|| bad("it names no port"))?;
    Ok((SocketAddr::new(host, port), url.path().to_owned()))
}

fn loopback_only(node: &Node, what: &'static str, address: SocketAddr) -> Result<(), LabError> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    Err(LabError::NotLoopback { node: node.name.clone(), what, address })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::sample;
    use crate::model::fleet::Fleet;

    fn refusal(change: impl FnOnce(&mut Fleet)) -> String {
        let mut fleet = sample::fleet();
        change(&mut fleet);
        endpoints(&fleet).expect_err("must be refused").to_string()
    }

    #[test]
    fn a_node_listens_wherever_it_is_asked() {
        let fleet = sample::fleet();
        let all = endpoints(&fleet).expect("all loopback");
        let tyo = &all[0];
        let paths: Vec<_> = tyo[0].routes.iter().map(|route| route.path.as_str()).collect();
        assert_eq!(paths, ["/health", "/load"]);
        assert_eq!(tyo.len(), 2, "the IPv6 probe has a port of its own");
        assert!(
            matches!(&tyo[0].routes[0].content, Content::Health { status: 200, body } if body.contains("fine"))
        );
    }

    #[test]
    fn what_the_lab_cannot_serve_is_refused_by_name() {
        let outside = refusal(|fleet| fleet.nodes[0].probes[0].targets[0] = Some(([10, 0, 0, 1], 80).into()));
        assert!(outside.contains("tyo-1") && outside.contains("10.0.0.1:80"), "{outside}");
        let shared = refusal(|fleet| fleet.nodes[1].probes[0] = fleet.nodes[0].probes[0].clone());
        assert!(shared.contains("tyo-1") && shared.contains("tyo-2"), "{shared}");
        let tls = refusal(|fleet| {
            if let ProbeKind::Http(http) = &mut fleet.nodes[0].probes[0].kind {
                http.tls = true;
            }
        });
        assert!(tls.contains("TLS"), "{tls}");
        for url in ["http://203.0.113.9/load", "https://127.0.0.1/load", "http://node/load", "nonsense"] {
            let feed = refusal(|fleet| {
                let feed = fleet.nodes[0].load.as_mut().expect("a feed");
                let crate::model::fleet::FeedSource::Pulled { url: asked, .. } = &mut feed.source else {
                    panic!("a pushed feed")
                };
                *asked = url.to_owned();
            });
            assert!(feed.contains("tyo-1"), "{feed}");
        }
    }
}
