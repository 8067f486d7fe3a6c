//! A receiver of alerts on loopback: it takes, fails or is silent as it is told, and keeps what it got.

#![allow(clippy::disallowed_methods, reason = "the program under test lives in real time")]

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver as Queue, Sender, channel};
use std::time::{Duration, Instant};

/// What it does with a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Take = 0,
    Fail = 1,
    Silent = 2,
}

pub struct Receiver {
    address: SocketAddr,
    manner: Arc<AtomicU8>,
    queue: Queue<Value>,
    got: std::cell::RefCell<Vec<Value>>,
}

impl Receiver {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let manner = Arc::new(AtomicU8::new(Manner::Take as u8));
        let (send, queue) = channel();
        let current = Arc::clone(&manner);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (send, manner) = (send.clone(), Arc::clone(&current));
                std::thread::spawn(move || serve(stream, &send, &manner));
            }
        });
        Self { address, manner, queue, got: Vec::new().into() }
    }

    pub fn url(&self, kind: &str) -> String {
        let path = if kind == "webhook" { "/hook" } else { "" };
        format!("http://{}{path}", self.address)
    }

    pub fn be(&self, manner: Manner) {
        self.manner.store(manner as u8, Ordering::SeqCst);
    }

    /// Everything got so far.
    pub fn posts(&self) -> Vec<Value> {
        self.got.borrow_mut().extend(self.queue.try_iter());
        self.got.borrow().clone()
    }

    pub fn forget(&self) {
        self.posts();
        self.got.borrow_mut().clear();
    }

    /// Waits until there are so many.
    pub fn wait(&self, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + super::support::PATIENCE;
        loop {
            let posts = self.posts();
            if posts.len() >= count {
                return posts;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.queue.recv_timeout(left) {
                Ok(post) => self.got.borrow_mut().push(post),
                Err(_) => panic!("{} of {count} messages came: {posts:?}", posts.len()),
            }
        }
    }

    /// Whether another one comes.
    pub fn more_within(&self, patience: Duration) -> bool {
        let more = self.queue.recv_timeout(patience);
        more.map(|post| self.got.borrow_mut().push(post)).is_ok()
    }
}

/// One request.
fn serve(mut stream: TcpStream, send: &Sender<Value>, manner: &AtomicU8) {
    let mut bytes = Vec::new();
    let post = loop {
        let mut part = [0; 4_096];
        let Ok(len @ 1..) = stream.read(&mut part) else { return };
        bytes.extend_from_slice(&part[..len]);
        let body = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| &bytes[at + 4..]);
        if let Some(post) = body.and_then(|body| serde_json::from_slice::<Value>(body).ok()) {
            break post;
        }
    };
    let manner = manner.load(Ordering::SeqCst);
    if manner == Manner::Silent as u8 {
        // Until the other side gives up.
        let _ = stream.read(&mut [0; 1]);
        return;
    }
    let is_taken = manner == Manner::Take as u8;
    let status = if is_taken { "200 OK" } else { "500 Internal Server Error" };
    let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    if is_taken {
        let _ = send.send(post);
    }
}
