//! The pages and hosts that are accepted.

use trunkline_proto::origin::{Allowed, Caller, Foreign, Host, Origin, Page};

fn allowed(list: &[&str], loopback: bool) -> Allowed {
    Allowed {
        any: false,
        list: list.iter().map(|it| it.parse().unwrap()).collect(),
        loopback,
    }
}

fn judge(allowed: &Allowed, host: &str, origins: &[&str]) -> Result<(), Foreign> {
    allowed.admit(&Caller {
        host: Some(Host::parse(host).unwrap().0),
        page: Page::of(origins.iter().map(|it| it.as_bytes())),
    })
}

#[test]
fn in_development_this_machine_alone() {
    let allowed = allowed(
        &["https://App.Example.com", "http://lab.example:8080"],
        true,
    );
    let page = Err(Foreign::Page);
    for (origins, expected) in [
        (&[][..], Ok(())),
        (&["http://localhost"], Ok(())),
        (&["http://localhost:3000"], Ok(())),
        (&["https://LOCALHOST.:8443"], Ok(())),
        (&["http://127.0.0.1:7702"], Ok(())),
        (&["http://127.8.9.1"], Ok(())),
        (&["https://[::1]:1"], Ok(())),
        (&["HTTP://[0:0:0:0:0:0:0:1]"], Ok(())),
        (&["http://[::ffff:127.0.0.1]"], Ok(())),
        (&["https://app.example.com"], Ok(())),
        (&["https://APP.example.com.:443"], Ok(())),
        (&["http://lab.example:8080"], Ok(())),
        (&["http://app.example.com"], page),
        (&["https://app.example.com:444"], page),
        (&["https://x.app.example.com"], page),
        (&["http://lab.example"], page),
        (&["https://evil.example"], page),
        (&["null"], page),
        (&[""], page),
        (&["*"], page),
        (&["file://"], page),
        (&["app://localhost"], page),
        (&["ws://localhost"], page),
        (&["localhost"], page),
        (&["http:localhost"], page),
        (&["http://localhost/"], page),
        (&["http://localhost:port"], page),
        (&["http://localhost:99999"], page),
        (&["http://localhost..evil.example"], page),
        (&["http://localhost.evil.example"], page),
        (&["http://evil.example?localhost"], page),
        (&["http://evil.example#localhost"], page),
        (&["http://evil.example\\@localhost"], page),
        (&["http://127.0.0.1@evil.example"], page),
        (&["http://evil.example@127.0.0.1"], page),
        (&["http://127.0.0.1.evil.example"], page),
        (&["http://127.0.0.1:80@evil.example"], page),
        (&["http://127.1"], page),
        (&["http://0x7f000001"], page),
        (&["http://2130706433"], page),
        (&["http://0.0.0.0"], page),
        (&["http://[::]"], page),
        (&["http://[::1"], page),
        (&["http://::1"], page),
        (&["http://localhost http://evil.example"], page),
        (&["http://localhost,http://evil.example"], page),
        (&["http://localhost", "http://localhost"], page),
        (&["http://localhost", "https://evil.example"], page),
    ] {
        assert_eq!(
            judge(&allowed, "127.0.0.1:7700", origins),
            expected,
            "{origins:?}"
        );
    }
    for (host, expected) in [
        ("localhost", Ok(())),
        ("LocalHost.:7700", Ok(())),
        ("127.0.0.1", Ok(())),
        ("127.3.2.1:80", Ok(())),
        ("[::1]:7700", Ok(())),
        ("app.example.com", Ok(())),
        ("lab.example:1", Ok(())),
        ("evil.example", Err(Foreign::Host)),
        ("evil.example:7700", Err(Foreign::Host)),
        ("localhost.evil.example", Err(Foreign::Host)),
        ("127.0.0.1.evil.example", Err(Foreign::Host)),
        ("192.168.1.2", Err(Foreign::Host)),
        ("0.0.0.0", Err(Foreign::Host)),
        ("2130706433", Err(Foreign::Host)),
    ] {
        for origins in [&[][..], &["http://localhost"]] {
            assert_eq!(judge(&allowed, host, origins), expected, "{host}");
        }
    }
    // A page that has its name resolve to this machine.
    let rebound = judge(&allowed, "evil.example:7700", &["http://evil.example:7700"]);
    assert_eq!(rebound, Err(Foreign::Host));
}

#[test]
fn elsewhere_pages_of_the_same_host_and_the_list() {
    let allowed = allowed(&["https://app.example.com", "capacitor://localhost"], false);
    for (host, origins, expected) in [
        ("gw.example:7700", &[][..], Ok(())),
        ("gw.example:7700", &["https://gw.example"], Ok(())),
        ("GW.example", &["http://gw.Example:7702"], Ok(())),
        ("[2001:db8::1]:7700", &["https://[2001:db8:0::1]"], Ok(())),
        ("gw.example", &["https://app.example.com"], Ok(())),
        ("gw.example", &["capacitor://localhost"], Ok(())),
        ("gw.example", &["app://gw.example"], Err(Foreign::Page)),
        (
            "gw.example",
            &["https://gw.example.evil.example"],
            Err(Foreign::Page),
        ),
        ("gw.example", &["https://evil.example"], Err(Foreign::Page)),
        ("gw.example", &["http://localhost:3000"], Err(Foreign::Page)),
        ("gw.example", &["null"], Err(Foreign::Page)),
    ] {
        assert_eq!(
            judge(&allowed, host, origins),
            expected,
            "{host} {origins:?}"
        );
    }
}

#[test]
fn any() {
    let any = Allowed {
        any: true,
        loopback: true,
        list: Vec::new(),
    };
    for origins in [&["null"][..], &["https://evil.example"], &["a", "b"]] {
        assert_eq!(judge(&any, "evil.example", origins), Ok(()), "{origins:?}");
    }
}

#[test]
fn origins_are_shown_as_they_are_compared() {
    for (text, shown) in [
        ("HTTPS://A.Example:443", "https://a.example"),
        ("http://a.example:443", "http://a.example:443"),
        ("http://[::0001]:80", "http://[::1]"),
        ("capacitor://localhost", "capacitor://localhost"),
    ] {
        let origin: Origin = text.parse().unwrap();
        assert_eq!(origin.to_string(), shown);
        assert_eq!(shown.parse::<Origin>().unwrap(), origin);
    }
}
