//! Does a name server answer as it should? One query over UDP, recursion not desired.
//!
//! An answer counts if it repeats the identifier and the question (RFC 5452 9.1), has the response code
//! that policy expects and, where policy names data, a record with it. A truncated answer is an answer.
//! EDNS is not used: a query that every server understands shows the server, not the path's limits.

use super::ask::{Ask, Call, Reply};
use super::burst::{Arrival, exchange, random};
use super::failure::Fault;
use super::source;
use crate::model::observation::{FailureReason, Measured};
use crate::model::probe::DnsProbe;
use async_trait::async_trait;
use hickory_proto::op::{Message, MessageType, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

pub(super) struct Query {
    /// Or why the name cannot be asked for.
    question: Result<Question, Fault>,
    rcode: u8,
    answer: Option<String>,
}

impl Query {
    pub fn new(probe: &DnsProbe) -> Self {
        let name = Name::from_ascii(format!("{}.", probe.query.trim_end_matches('.')));
        let question = name
            .map(|name| Question::query(name, RecordType::from(probe.record)))
            .map_err(|error| Fault::of_machine(format!("cannot ask for {:?}: {error}", probe.query)));
        Self { question, rcode: probe.rcode, answer: probe.answer.clone() }
    }

    fn judge(&self, datagram: &[u8], id: u16, question: &Question) -> Arrival {
        let refusal = |reason, detail: String| Arrival::Refusal(Fault::new(reason, detail));
        let is_ours = datagram.get(..2) == Some(&id.to_be_bytes()[..]);
        let Ok(message) = Message::from_vec(datagram) else {
            return match is_ours {
                true => refusal(FailureReason::Other, "the answer is not dns".to_owned()),
                false => Arrival::Stray,
            };
        };
        let is_response = message.metadata.message_type == MessageType::Response;
        // A server that cannot read a query may answer without its question (RFC 1035 7.3).
        let repeats = message.queries.is_empty() || message.queries == [question.clone()];
        if !is_ours || !is_response || !repeats {
            return Arrival::Stray;
        }
        let rcode = u16::from(message.metadata.response_code);
        if rcode != u16::from(self.rcode) {
            let expected = ResponseCode::from_low(self.rcode);
            let detail = format!("{}, expected {expected}", message.metadata.response_code);
            return refusal(FailureReason::Status, detail.to_lowercase());
        }
        match &self.answer {
            Some(wanted)
                if !message.answers.iter().any(|record| is_text_of(wanted, &record.data.to_string())) =>
            {
                let cut = if message.metadata.truncation { " (it is truncated)" } else { "" };
                let count = message.answers.len();
                refusal(
                    FailureReason::Body,
                    format!("none of {count} records in the answer is {wanted}{cut}"),
                )
            }
            _ => Arrival::Answer(0),
        }
    }
}

/// Names end in a dot or do not, and are of either case.
fn is_text_of(wanted: &str, data: &str) -> bool {
    wanted.trim_end_matches('.').eq_ignore_ascii_case(data.trim_end_matches('.'))
}

#[async_trait]
impl Ask for Query {
    async fn ask(&self, call: &Call, learned: &mut Measured) -> Result<Reply, Fault> {
        let question = self.question.as_ref().map_err(Clone::clone)?;
        let id = u16::from_be_bytes(random()?);
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.add_query(question.clone());
        let query = message.to_vec().map_err(|error| Fault::of_machine(format!("cannot ask: {error}")))?;
        let socket = source::datagrams(call.target, &call.source).await?;
        exchange(&socket, &[query], |datagram| self.judge(datagram, id, question), call, learned).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::rdata::{A, NS};
    use hickory_proto::rr::{RData, Record};

    fn query(answer: Option<&str>) -> Query {
        let answer = answer.map(str::to_owned);
        Query::new(&DnsProbe { query: "www.example.com".to_owned(), record: 1, rcode: 0, answer })
    }

    fn response(question: &Question, rcode: ResponseCode) -> Message {
        let mut message = Message::response(7, OpCode::Query);
        message.metadata.response_code = rcode;
        message.add_query(question.clone());
        message.add_answer(Record::from_rdata(question.name().clone(), 60, RData::A(A::new(192, 0, 2, 1))));
        let server = NS(Name::from_ascii("NS1.example.com.").expect("a name"));
        message.add_answer(Record::from_rdata(question.name().clone(), 60, RData::NS(server)));
        message
    }

    fn check(answer: Option<&str>, edit: impl Fn(&mut Message), expected: Result<Option<usize>, &str>) {
        let query = query(answer);
        let question = query.question.clone().expect("a name");
        let mut message = response(&question, ResponseCode::NoError);
        edit(&mut message);
        let seen = query.judge(&message.to_vec().expect("a message"), 7, &question);
        match (seen, expected) {
            (Arrival::Answer(at), Ok(Some(expected))) => assert_eq!(at, expected),
            (Arrival::Stray, Ok(None)) => {}
            (Arrival::Refusal(fault), Err(part)) => assert!(fault.detail.contains(part), "{}", fault.detail),
            (seen, _) => panic!("{seen:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn answers_are_judged() {
        check(None, |_| {}, Ok(Some(0)));
        check(Some("192.0.2.1"), |_| {}, Ok(Some(0)));
        check(Some("ns1.example.com"), |_| {}, Ok(Some(0)));
        check(Some("192.0.2.9"), |_| {}, Err("none of 2 records in the answer is 192.0.2.9"));
        check(Some("192.0.2.9"), |m| m.metadata.truncation = true, Err("truncated"));
        check(
            None,
            |m| m.metadata.response_code = ResponseCode::ServFail,
            Err("server failure, expected no error"),
        );
    }

    #[test]
    fn what_answers_something_else_is_stray() {
        check(None, |m| m.metadata.id = 8, Ok(None));
        check(None, |m| m.metadata.message_type = MessageType::Query, Ok(None));
        let other = Question::query(Name::from_ascii("other.example.com.").expect("a name"), RecordType::A);
        check(None, |m| m.queries = vec![other.clone()], Ok(None));
    }

    #[test]
    fn what_is_not_dns_is_told_if_it_has_the_identifier() {
        let query = query(None);
        let question = query.question.clone().expect("a name");
        assert_eq!(query.judge(b"hello", 7, &question), Arrival::Stray);
        assert!(matches!(query.judge(&[0, 7, 9], 7, &question), Arrival::Refusal(_)));
    }
}
