//! The client behind a proxy: headers and preambles, right ones and hostile ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use trunkline_proto::handshake;
use trunkline_proto::proxy::preamble::{LONGEST, Preamble, PreambleError, Progress, read};
use trunkline_proto::proxy::{Naming, Proxies, Unclear};

const PEER: &str = "10.0.0.1";

fn proxies(naming: Naming) -> Proxies {
    let networks = ["10.0.0.0/8", "2001:db8:1::/48"];
    Proxies {
        networks: networks.map(|one| one.parse().unwrap()).to_vec(),
        naming,
    }
}

/// Returns the client that these lines name.
fn client(naming: Naming, list: &[&str], standard: &[&str]) -> Result<String, Unclear> {
    let lines = |lines: &[&str]| -> Vec<Vec<u8>> {
        lines.iter().map(|line| line.as_bytes().to_vec()).collect()
    };
    let (list, standard) = (lines(list), lines(standard));
    let client = proxies(naming).client(
        PEER.parse().unwrap(),
        list.iter().map(Vec::as_slice),
        standard.iter().map(Vec::as_slice),
    );
    client.map(|client| client.to_string())
}

#[test]
fn the_rightmost_address_that_is_no_proxy_in_both_headers() {
    for (lines, expected) in [
        (&[][..], PEER),
        (&[""], PEER),
        (&["192.0.2.7"], "192.0.2.7"),
        (&["198.51.100.1, 192.0.2.7"], "192.0.2.7"),
        (&["198.51.100.1", "192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        (&["192.0.2.7,10.0.0.3 ,\t10.0.0.2"], "192.0.2.7"),
        (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (&["192.0.2.7, , 10.0.0.2,"], "192.0.2.7"),
        (&["garbage, 192.0.2.7"], "192.0.2.7"),
        (&["192.0.2.7, garbage"], PEER),
        (&["192.0.2.7, unknown, 10.0.0.2"], "10.0.0.2"),
        (&["192.0.2.7, unknown, 10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        (&["192.0.2.7:4711"], "192.0.2.7"),
        (&["2001:db8::7"], "2001:db8::7"),
        (&["[2001:db8::7]"], "2001:db8::7"),
        (&["[2001:db8::7]:4711"], "2001:db8::7"),
        (&["::ffff:192.0.2.7"], "192.0.2.7"),
        (&["2001:db8::7, 2001:db8:1::1"], "2001:db8::7"),
    ] {
        let of = |naming| client(naming, lines, &[]).unwrap();
        assert_eq!(of(Naming::XForwardedFor), expected, "{lines:?}");
        assert_eq!(of(Naming::AnyHeader), expected, "{lines:?}");
        assert_eq!(of(Naming::Forwarded), PEER, "{lines:?}");
        assert_eq!(of(Naming::Protocol), PEER, "{lines:?}");
        // The same list as `Forwarded`.
        let element = |entry: &str| match entry.trim() {
            "" => String::new(),
            entry if entry.contains(':') => format!("proto=http;For=\"{entry}\""),
            entry => format!("for={entry} ; by=_proxy"),
        };
        let standard = lines.iter().map(|line| {
            let elements: Vec<_> = line.split(',').map(element).collect();
            elements.join(", ")
        });
        let standard: Vec<_> = standard.collect();
        let standard: Vec<_> = standard.iter().map(String::as_str).collect();
        let of = |naming| client(naming, &[], &standard).unwrap();
        assert_eq!(of(Naming::Forwarded), expected, "{standard:?}");
        assert_eq!(of(Naming::AnyHeader), expected, "{standard:?}");
        assert_eq!(of(Naming::XForwardedFor), PEER, "{standard:?}");
    }
}

#[test]
fn forwarded_with_quotes_and_wrong_syntax() {
    let of = |line: &str| client(Naming::AnyHeader, &[], &[line]);
    for (line, expected) in [
        (r#"for="192.0.2.7""#, "192.0.2.7"),
        ("for=192.0.2.7:80;proto=https", "192.0.2.7"),
        (r#"host="a,b;c";for=192.0.2.7"#, "192.0.2.7"),
        (r#"host="a\",for=198.51.100.1";for=192.0.2.7"#, "192.0.2.7"),
        (r#"for="\1",for=192.0.2.7"#, "192.0.2.7"),
        (r#"for="_gazonk""#, PEER),
        ("proto=https", PEER),
    ] {
        assert_eq!(of(line).unwrap(), expected, "{line}");
    }
    // A client could hide the entries that the proxies append.
    for line in [
        r#"for="x, for=192.0.2.7"#,
        r#"for="x, for="[2001:db8::7]""#,
        r#"for="x\"#,
        "for",
        "for=",
        "for= 192.0.2.7",
        "for=192.0.2.7;for=198.51.100.1",
        "192.0.2.7",
        "for=192.0.2.7 198.51.100.1",
    ] {
        assert_eq!(of(line), Err(Unclear::Syntax), "{line}");
    }
}

#[test]
fn two_headers_that_differ_are_refused_unless_one_is_chosen() {
    let (list, standard) = (&["192.0.2.7"][..], &["for=198.51.100.1"][..]);
    let of = |naming| client(naming, list, standard);
    assert_eq!(of(Naming::AnyHeader), Err(Unclear::Differ));
    assert_eq!(of(Naming::XForwardedFor).unwrap(), "192.0.2.7");
    assert_eq!(of(Naming::Forwarded).unwrap(), "198.51.100.1");
    let same = client(Naming::AnyHeader, list, &["for=192.0.2.7"]);
    assert_eq!(same.unwrap(), "192.0.2.7");
    for unclear in [Unclear::Differ, Unclear::Syntax] {
        assert!(unclear.message().contains("--proxy-header"), "{unclear:?}");
    }
}

#[test]
fn an_upgrade_request_names_its_client() {
    let of = |request: &str| {
        let peer = PEER.parse().unwrap();
        handshake::client(request.as_bytes(), &proxies(Naming::AnyHeader), peer)
    };
    let head = "GET /v1/ws HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n";
    let seven: IpAddr = "192.0.2.7".parse().unwrap();
    assert_eq!(of(&format!("{head}\r\n")), Ok(seven));
    assert_eq!(of(head).unwrap().to_string(), PEER, "it is not complete");
    assert_eq!(of("\0\r\n\r\n").unwrap().to_string(), PEER);
    let differs = of(&format!("{head}Forwarded: for=192.0.2.8\r\n\r\n"));
    assert_eq!(differs.unwrap_err().status, 400);
}

fn complete(bytes: &[u8], size: usize, client: Option<&str>) {
    let client = client.map(|client| client.parse().unwrap());
    let expected = Preamble { size, client };
    assert_eq!(read(bytes), Ok(Progress::Complete(expected)), "{bytes:?}");
}

#[test]
fn preambles_of_version_1() {
    for (line, client) in [
        (
            "PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n",
            Some("192.0.2.7"),
        ),
        (
            "PROXY TCP6 2001:db8::7 ::1 65535 0\r\n",
            Some("2001:db8::7"),
        ),
        ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 1\r\n", Some("192.0.2.7")),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
    ] {
        complete(line.as_bytes(), line.len(), client);
        complete(format!("{line}GET /").as_bytes(), line.len(), client);
        in_pieces(line.as_bytes());
    }
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
    complete(long.as_bytes(), 107, None);
    for line in [
        &*format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)),
        "PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 4711 443 1\r\n",
        "PROXY TCP4  192.0.2.7 10.0.0.1 4711 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 4711 65536\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 +1 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 01 443\r\n",
        "PROXY TCP4 2001:db8::7 10.0.0.1 1 443\r\n",
        "PROXY TCP4 192.0.2 10.0.0.1 1 443\r\n",
        "PROXY UDP4 192.0.2.7 10.0.0.1 1 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 1 443\n",
        "PROXY \r\n",
        "PROXY \u{fc}\r\n",
    ] {
        assert_eq!(read(line.as_bytes()), Err(PreambleError::Line), "{line:?}");
    }
}

/// Returns a preamble of version 2.
fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([command, family]);
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A preamble that comes in pieces asks for bytes until it is complete, and never for too many.
fn in_pieces(whole: &[u8]) {
    let mut have = 0;
    loop {
        match read(&whole[..have]) {
            Ok(Progress::Complete(preamble)) => return assert_eq!(preamble.size, have),
            Ok(Progress::Incomplete(least)) => {
                assert!(least > 0 && have + least <= whole.len(), "{whole:?}");
                have += least;
            }
            Err(error) => panic!("{error}: {whole:?}"),
        }
    }
}

#[test]
fn preambles_of_version_2() {
    let four = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x67, 1, 0xbb];
    let mut six = [0; 36];
    six[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
    let mut mapped = [0; 36];
    mapped[..16].copy_from_slice(&"::ffff:192.0.2.7".parse::<Ipv6Addr>().unwrap().octets());
    let with_values = [&four[..], &[4, 0, 1, 7]].concat();
    for (bytes, client) in [
        (binary(0x21, 0x11, &four), Some("192.0.2.7")),
        (binary(0x21, 0x11, &with_values), Some("192.0.2.7")),
        (binary(0x21, 0x21, &six), Some("2001:db8::7")),
        (binary(0x21, 0x21, &mapped), Some("192.0.2.7")),
        (binary(0x21, 0x31, &[1; 216]), None),
        (binary(0x21, 0x00, &[]), None),
        (binary(0x21, 0x00, &[1; 9]), None),
        (binary(0x20, 0x00, &[]), None),
        (binary(0x20, 0x11, &four), None),
        (binary(0x20, 0x77, &[1; 3]), None),
        (binary(0x20, 0x00, &vec![1; LONGEST - 16]), None),
    ] {
        complete(&bytes, bytes.len(), client);
        in_pieces(&bytes);
        let more = [&bytes[..], b"\r\n\r\n\0"].concat();
        complete(&more, bytes.len(), client);
    }
    for (bytes, error) in [
        (binary(0x11, 0x11, &four), PreambleError::Binary),
        (binary(0x22, 0x11, &four), PreambleError::Binary),
        (binary(0x21, 0x12, &four), PreambleError::Binary),
        (binary(0x21, 0x41, &four), PreambleError::Binary),
        (binary(0x21, 0x11, &four[..11]), PreambleError::Binary),
        (binary(0x21, 0x21, &six[..35]), PreambleError::Binary),
        (binary(0x21, 0x31, &[0; 215]), PreambleError::Binary),
        (
            binary(0x20, 0, &vec![0; LONGEST - 15]),
            PreambleError::TooLong,
        ),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), PreambleError::Missing),
        (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), PreambleError::Missing),
        (b"\r\nGET /".to_vec(), PreambleError::Missing),
        (vec![22, 3, 1], PreambleError::Missing),
    ] {
        assert_eq!(read(&bytes), Err(error), "{bytes:?}");
    }
    assert_eq!(
        read(b""),
        Ok(Progress::Incomplete(15)),
        "the shortest of both"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        front in prop::sample::select(vec![&b""[..], b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n\x21", b"PROXY TCP4 1.2.3.4 "]),
    ) {
        let bytes = [front, &bytes].concat();
        if let Ok(Progress::Complete(preamble)) = read(&bytes) {
            prop_assert!(preamble.size <= bytes.len());
            // What follows changes nothing, and nothing less is complete.
            prop_assert_eq!(read(&bytes[..preamble.size]), Ok(Progress::Complete(preamble)));
            let less = read(&bytes[..preamble.size - 1]);
            prop_assert!(matches!(less, Ok(Progress::Incomplete(1))), "{:?}", less);
        }
    }

    #[test]
    fn what_a_client_writes_never_hides_its_address(
        forged in "[ -~]{0,40}",
        address in any::<u32>().prop_map(Ipv4Addr::from_bits),
    ) {
        prop_assume!(address.octets()[0] != 10);
        // The proxy appends the address of its peer.
        let appended = format!("{forged}, {address}");
        let found = client(Naming::XForwardedFor, &[&appended], &[]);
        prop_assert_eq!(found, Ok(address.to_string()));
        let appended = format!("{forged}, for={address}");
        let found = client(Naming::Forwarded, &[], &[&appended]);
        let is_right = found == Ok(address.to_string()) || found == Err(Unclear::Syntax);
        prop_assert!(is_right, "{:?}", found);
    }
}
