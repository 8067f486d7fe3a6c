//! Keys as text; messages signed, checked and spoilt.

use super::*;

const KEYS: &str = "# a comment\nkey \"Transfer.Key\" {\n\talgorithm hmac-sha256;\n\tsecret \
                    \"MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=\";\n};\nkey other { secret \
                    MTIzNDU2Nzg5MDEyMzQ1Ng==; algorithm HMAC-SHA512; };\n";
const NOW: u64 = 1_700_000_000;

fn keys() -> TsigKeys {
    TsigKeys::parse(KEYS).expect("keys")
}

fn question() -> Vec<u8> {
    [&[7, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x01z\x04test\x00", &[0, 6, 0, 1]].concat()
}

fn signed() -> (Vec<u8>, Signer) {
    let keys = keys();
    let mut signer = Signer::of_request(keys.named("transfer.key").expect("a key"), [7, 7]);
    let mut message = question();
    let room = signer.added_len();
    signer.sign(&mut message, NOW);
    assert_eq!(message.len(), question().len() + room, "the length is foretold");
    (message, signer)
}

#[test]
fn keys_are_read_as_bind_writes_them() {
    assert!(keys().named("TRANSFER.key.").is_some() && keys().named("other").is_some());
    assert!(keys().named("none").is_none());
    for (text, line) in [
        ("key a { algorithm hmac-md5; secret MTIzNDU2Nzg5MDEyMzQ1Ng==; };", 1),
        ("key a {\nalgorithm hmac-sha256;\nsecret MTIz; };", 3),
        ("key a {\nalgorithm hmac-sha256; };", 2),
        ("key a { secret MTIzNDU2Nzg5MDEyMzQ1Ng==; algorithm hmac-sha256 };", 1),
        ("\n\nzone", 3),
        ("key", 1),
        ("key \"", 1),
    ] {
        let error = TsigKeys::parse(text).expect_err(text);
        assert!(matches!(error, KeyTextError::Syntax { line: at, .. } if at == line), "{text}: {error}");
    }
    assert_eq!(TsigKeys::parse("// nothing\n").expect_err("empty"), KeyTextError::Empty);
    assert!(!format!("{:?}", keys()).contains("MTIz"), "no secret is printed");
}

/// HMAC-SHA256 over the digest components written out by hand from RFC 8945 4.3.
#[test]
fn the_digest_is_that_of_the_rfc() {
    let (message, _) = signed();
    let at = find(&message).expect("a TSIG record");
    let mut components = question();
    components.extend_from_slice(b"\x08transfer\x03key\x00\x00\xff\x00\x00\x00\x00\x0bhmac-sha256\x00");
    components.extend_from_slice(&NOW.to_be_bytes()[2..]);
    components.extend_from_slice(&[1, 44, 0, 0, 0, 0]);
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"12345678901234567890123456789012");
    let mac = hmac::sign(&key, &components);
    assert_eq!(Record::read(&message, at).expect("whole").mac, mac.as_ref());
}

#[test]
fn what_is_wrong_with_a_request_is_told() {
    let (message, _) = signed();
    let at = find(&message).expect("a TSIG record");
    let error = |keys: &TsigKeys, message: &[u8], now| verify(keys, message, at, now).map(|it| it.error());
    assert_eq!(error(&keys(), &message, NOW), Ok(TsigError::None));
    assert_eq!(error(&keys(), &message, NOW + 300), Ok(TsigError::None));
    assert_eq!(error(&keys(), &message, NOW + 301), Ok(TsigError::BadTime));
    assert_eq!(error(&keys(), &message, NOW - 301), Ok(TsigError::BadTime));
    assert_eq!(error(&TsigKeys::default(), &message, NOW), Ok(TsigError::BadKey));
    for spoilt in [0, 13, at - 1] {
        let mut message = message.clone();
        message[spoilt] ^= 1;
        // The id on the wire may be another: the original one is in the record.
        let expected = if spoilt == 0 { TsigError::None } else { TsigError::BadSig };
        assert_eq!(error(&keys(), &message, NOW), Ok(expected), "octet {spoilt}");
    }
    for end in at..message.len() {
        assert_eq!(error(&keys(), &message[..end], NOW), Err(Rcode::FormErr), "cut at {end}");
    }
}

#[test]
fn replies_prove_that_they_answer_the_request() {
    let (message, asker) = signed();
    let mut replier = verify(&keys(), &message, find(&message).expect("there"), NOW).expect("sound");
    let mut reply = question();
    reply[2] |= 0x80;
    replier.sign(&mut reply, NOW + 1);
    let at = find(&reply).expect("a TSIG record");
    assert!(asker.accepts(&reply, at, NOW + 1));
    assert!(!asker.accepts(&reply, at, NOW + 400), "too old");
    reply[13] ^= 1;
    assert!(!asker.accepts(&reply, at, NOW + 1), "spoilt");
    let mut second = question();
    replier.sign(&mut second, NOW + 1);
    assert!(!asker.accepts(&second, at, NOW + 1), "later messages of a stream continue the one before");
}

#[test]
fn errors_are_signed_only_where_the_key_is_known() {
    let (message, _) = signed();
    let at = find(&message).expect("there");
    for (keys, now, mac, other) in [(TsigKeys::default(), NOW, 0, 0), (keys(), NOW + 1_000, 32, 6)] {
        let mut signer = verify(&keys, &message, at, now).expect("sound");
        let mut reply = question();
        let room = signer.added_len();
        signer.sign(&mut reply, now);
        assert_eq!(reply.len(), question().len() + room);
        let record = Record::read(&reply, question().len()).expect("a record");
        assert_eq!((record.mac.len(), record.other.len(), record.time), (mac, other, NOW));
    }
}
