//! The little of HTTP/1.1 (RFC 9112) that a probed node speaks, with faults in its replies.
//!
//! Written by hand because a fault needs what a server library hides: to stay silent on an open
//! connection, and to hold one reply back. GET and HEAD without a body, keep-alive, one request at a
//! time, heads up to 8 KiB, 30 s per request. Not a server for anything but the lab.

use super::load::Reading;
use super::node::NodeState;
use super::plan::{Content, Endpoint, path_only};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest request head (RFC 9110 asks for at least 8,000 octets of request line).
const MAX_HEAD: usize = 8 * 1_024;
/// How long a connection may be idle, and how long a lost request stays silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    path: String,
    head_only: bool,
    close: bool,
}

/// Serves one connection until it ends, by either side.
pub async fn serve(mut stream: TcpStream, node: &NodeState, endpoint: &Endpoint) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(1_024);
    loop {
        let head = match timeout(PATIENCE, read_head(&mut stream, &mut buffer)).await {
            Ok(Ok(Some(head))) => head,
            Ok(Ok(None)) | Err(_) => return Ok(()),
            Ok(Err(error)) => return Err(error),
        };
        let reply = node.next_reply();
        if reply.lost {
            return stay_silent(&mut stream).await;
        }
        tokio::time::sleep(reply.delay).await;
        let (bytes, close) = match parse(&head) {
            Ok(request) if reply.failed => (refusal(503, request.close, request.head_only), request.close),
            Ok(request) => (answer(&request, node, endpoint), request.close),
            Err(status) => (refusal(status, true, false), true),
        };
        stream.write_all(&bytes).await?;
        if close {
            return stream.shutdown().await;
        }
    }
}

/// The next request head, without its blank line; `None` at the end of the stream or of patience
/// with its length.
async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let mut head: Vec<u8> = buffer.drain(..end + 4).collect();
            head.truncate(end);
            return Ok(Some(head));
        }
        if buffer.len() >= MAX_HEAD || stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// Takes what comes and says nothing until the client gives up.
async fn stay_silent(stream: &mut TcpStream) -> io::Result<()> {
    let mut sink = [0; 512];
    let client_gives_up = async {
        while stream.read(&mut sink).await? != 0 {}
        io::Result::Ok(())
    };
    timeout(PATIENCE, client_gives_up).await.unwrap_or(Ok(()))
}

/// The request, or the status that refuses it.
fn parse(head: &[u8]) -> Result<Request, u16> {
    let head = std::str::from_utf8(head).map_err(|_| 400_u16)?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(400);
    };
    if !version.starts_with("HTTP/1.") || !target.starts_with('/') {
        return Err(400);
    }
    let mut close = version == "HTTP/1.0";
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(400_u16)?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "connection" => close |= value.eq_ignore_ascii_case("close"),
            // A body would be read as the next request: refuse instead of skipping it.
            "transfer-encoding" => return Err(400),
            "content-length" if value != "0" => return Err(400),
            _ => {}
        }
    }
    match method {
        "GET" | "HEAD" => {
            Ok(Request { path: path_only(target).to_owned(), head_only: method == "HEAD", close })
        }
        _ => Err(405),
    }
}

fn answer(request: &Request, node: &NodeState, endpoint: &Endpoint) -> Vec<u8> {
    let route = endpoint.routes.iter().find(|route| route.path == request.path);
    let (status, kind, body) = match route.map(|route| &route.content) {
        None => (404, "text/plain", "not found\n".to_owned()),
        Some(Content::Health { status, body }) => (*status, "text/plain", body.clone()),
        Some(Content::Load(shape)) => {
            let reading: Reading = node.reading();
            match shape.document(reading, node.load.told_clients()) {
                Ok(document) => (200, "application/json", document.to_string()),
                Err(why) => (500, "text/plain", why),
            }
        }
    };
    response(status, kind, &body, request.close, request.head_only)
}

fn refusal(status: u16, close: bool, head_only: bool) -> Vec<u8> {
    response(status, "text/plain", "", close, head_only)
}

fn response(status: u16, kind: &str, body: &str, close: bool, head_only: bool) -> Vec<u8> {
    let connection = if close { "close" } else { "keep-alive" };
    let length = body.len();
    let body = if head_only { "" } else { body };
    format!(
        "HTTP/1.1 {status} {}\r\nserver: rhumb-lab\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\
         cache-control: no-store\r\nconnection: {connection}\r\n\r\n{body}",
        reason(status)
    )
    .into_bytes()
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        // RFC 9112 section 4: the phrase may be empty.
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_or_refused() {
        let get = |path: &str, close| Ok(Request { path: path.to_owned(), head_only: false, close });
        for (head, expect) in [
            ("GET /health HTTP/1.1\r\nhost: a", get("/health", false)),
            ("GET /health?x=1 HTTP/1.1\r\nConnection: Close", get("/health", true)),
            ("GET / HTTP/1.0", get("/", true)),
            ("GET / HTTP/1.1\r\ncontent-length: 0", get("/", false)),
            ("GET / HTTP/1.1\r\ncontent-length: 5", Err(400)),
            ("GET / HTTP/1.1\r\ntransfer-encoding: chunked", Err(400)),
            ("GET / HTTP/1.1\r\nno colon", Err(400)),
            ("GET /", Err(400)),
            ("GET / HTTP/2", Err(400)),
            ("GET  / HTTP/1.1", Err(400)),
            ("", Err(400)),
            ("DELETE / HTTP/1.1", Err(405)),
        ] {
            assert_eq!(parse(head.as_bytes()), expect, "{head}");
        }
        assert_eq!(parse(b"GET /\xff HTTP/1.1"), Err(400));
    }
}
