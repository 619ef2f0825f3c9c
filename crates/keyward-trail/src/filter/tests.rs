//! Filters against a naive scan, and mistakes against what they say.

use super::condition::parse_net;
use super::moment::When;
use super::*;

fn refused(name: &str, value: &str, says: &str) {
    let error = Filter::parse([(name, value)]).unwrap_err().to_string();
    assert!(error.contains(says), "{name}={value}: {error}");
}

#[test]
fn what_cannot_match_is_an_error_that_says_what_can() {
    refused("calller", "x", "`caller`");
    refused("calller", "x", "request.call.method");
    refused("request.", "x", "unknown filter");
    refused("caller", "", "a value");
    refused("since", "last week", "`2h`");
    for star in ["*.CreateKeypair", "huawei.*.CreateKeypair", "**", "a*b*"] {
        refused("action", star, "at its end");
        refused("where", &format!("action = {star}"), "at its end");
    }
    refused("since", "2026-11-22T14:20:50", "2026-11-22T14:20:50Z");
    refused("since", "99999999999999w", "`7d`");
    refused("decision", "denied", "allow, deny, pass");
    refused("outcome", "success", "succeeded, accepted");
    refused("reason", "forbidden", "policy-forbids");
    for status in ["6xx", "99", "600", "xx", "40x", "+40"] {
        refused("status", status, "`4xx`");
    }
    for source in
        ["10.0.0", "10.0.0.0/33", "::/129", "localhost", "::ffff:10.0.0.0/90", "10.0.0.0/"]
    {
        refused("source", source, "10.0.0.0/8");
    }
    refused("id", "42", "UUID");
    refused("secret", "s3cret", "hmac-sha256:");
    let twice = Filter::parse([("caller", "a"), ("caller", "b")]).unwrap_err();
    assert_eq!(twice, FilterError::Twice("caller".to_owned()));
    assert!(
        Filter::parse([("request.items.fields.name", "a"), ("request.items.fields.name", "b")])
            .is_ok()
    );
}

#[test]
fn times_may_be_relative() {
    let now = Timestamp::parse("2026-11-22T14:00:00Z").unwrap();
    let bounds =
        |since, until| Filter::parse([("since", since), ("until", until)]).unwrap().at(now).0;
    let at = |text| When::At(Timestamp::parse(text).unwrap());
    let between = |since, until| {
        Expression::All(vec![
            Expression::Test(Test::Since(since)),
            Expression::Test(Test::Until(until)),
        ])
    };
    assert_eq!(
        bounds("2h", "30m"),
        between(at("2026-11-22T12:00:00Z"), at("2026-11-22T13:30:00Z"))
    );
    assert_eq!(
        bounds("2026-11-20", "2026-11-21T00:00:00+08:00"),
        between(at("2026-11-20T00:00:00Z"), at("2026-11-20T16:00:00Z"))
    );
    assert_eq!(bounds("9999w", "0s"), between(When::At(Timestamp(0)), When::At(now)));
}

#[test]
fn networks_hold_addresses_of_their_own_version() {
    let holds = |net, address| parse_net(net).unwrap().holds(address);
    assert!(holds("10.0.0.0/8", "10.200.1.1") && !holds("10.0.0.0/8", "11.0.0.1"));
    assert!(holds("10.1.2.3", "::ffff:10.1.2.3") && holds("::ffff:10.0.0.0/104", "10.9.9.9"));
    assert!(
        holds("::/0", "2001:db8::1") && !holds("::/0", "10.0.0.1") && !holds("0.0.0.0/0", "::1")
    );
    assert!(!holds("10.0.0.0/8", "10.0.0.1:4711"));
}

#[test]
fn a_filter_survives_a_url() {
    let pairs = [
        ("caller", "ops & night/ü"),
        ("request.call.method", "POST"),
        ("since", "2h"),
        ("status", "4xx"),
        ("where", "not caller in (a, b)"),
        ("where", "seq > 1"),
    ];
    let filter = Filter::parse(pairs).unwrap();
    assert_eq!(
        filter.to_query(),
        "caller=ops+%26+night%2F%C3%BC&request.call.method=POST&since=2h&status=4xx&where=not+caller+in+%28a%2C+b%29&where=seq+%3E+1"
    );
    let back: Filter = serde_urlencoded::from_str(&filter.to_query()).unwrap();
    assert_eq!(back, filter);
    assert_eq!(serde_urlencoded::to_string(&filter).unwrap(), filter.to_query());
    let error = serde_urlencoded::from_str::<Filter>("caler=x").unwrap_err().to_string();
    assert!(error.contains("unknown filter `caler`"), "{error}");
}

#[test]
fn it_can_stand_beside_other_parameters() {
    #[derive(serde::Deserialize)]
    struct Asked {
        limit: usize,
        #[serde(flatten)]
        filter: Filter,
    }
    let asked: Asked =
        serde_urlencoded::from_str("caller=deploy&limit=5&answer.status=202").unwrap();
    assert_eq!(
        (asked.limit, asked.filter),
        (5, Filter::parse([("caller", "deploy"), ("answer.status", "202")]).unwrap())
    );
}

#[test]
fn needles_stand_in_the_records_they_are_sought_in() {
    let filter = Filter::parse([
        ("caller", "a\"b\\c"),
        ("status", "200"),
        ("answer.status", "200"),
        ("request.content.x", "y"),
        ("action", "huawei.*"),
    ])
    .unwrap();
    assert_eq!(filter.at(Timestamp(0)).0.needles(), ["huawei.", r#"a\"b\\c"#]);
}
