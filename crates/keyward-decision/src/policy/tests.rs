//! What must not pass, and the two ways in which Cedar alone would fail open.

use super::testing::{caller, catalog, directory, question};
use super::*;
use crate::caller::CallerKind;
use crate::catalog::schema::{Field, Shape};
use crate::inspect::facts::{Fact, Unreadable};
use keyward_core::reason::Reason;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Value, json};

const GRANT: &str = r#"@id("grant") @message("Key administrators may do all.")
permit (principal in Keyward::Group::"key-admins", action, resource);
"#;

fn load(policies: &str, patterns: &str) -> Result<Bundle, Vec<PolicyError>> {
    let patterns =
        (!patterns.is_empty()).then(|| ("patterns.toml".to_owned(), patterns.to_owned()));
    Bundle::from_texts(
        &[("x.cedar".to_owned(), policies.to_owned())],
        patterns.as_ref(),
        catalog(),
        &directory(),
    )
}

/// The grant and a further policy, given without annotations.
fn with_grant(policy: &str) -> Bundle {
    load(&format!("{GRANT}@id(\"rule\") @message(\"Do otherwise.\") {policy}"), "").unwrap()
}

fn create_key(body: Value) -> Question {
    let mut whole = json!({"title": "laptop", "key": "rsa:4096", "scope": "READ"});
    whole.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    question(catalog(), "POST", "svc.test/orgs/o1/keys", &whole)
}

fn bind(servers: Value) -> Question {
    question(catalog(), "PUT", "svc.test/projects/p1/bind", &json!({"servers": servers}))
}

fn outcome(decision: &Decision) -> (Verdict, Reason) {
    (decision.verdict, decision.reason)
}

#[test]
fn a_failing_forbid_denies_although_cedar_skips_it() {
    let bundle = with_grant(
        r#"forbid (principal, action == Keyward::Action::"test.svc.ListKeys", resource) when { context.query.limit + 9223372036854775807 < 0 };"#,
    );
    let decision =
        bundle.decide(&question(catalog(), "GET", "svc.test/orgs/o1/keys?limit=1", &Value::Null));
    // Cedar's own answer: the grant, and nothing else.
    assert_eq!(
        decision.deciding.iter().map(|one| one.policy.as_str()).collect::<Vec<_>>(),
        ["grant"]
    );
    assert_eq!(outcome(&decision), (Verdict::Deny, Reason::PolicyError));
    assert!(
        decision.errors.iter().any(|error| error.contains("rule") && error.contains("overflow")),
        "{:?}",
        decision.errors
    );
    assert_eq!(decision.message, "The policy could not be evaluated. [rule]");
    let decision =
        bundle.decide(&question(catalog(), "GET", "svc.test/orgs/o1/keys?limit=0", &Value::Null));
    assert_eq!(outcome(&decision), (Verdict::Allow, Reason::Permitted));
}

#[test]
fn a_forbid_on_an_action_group_fires() {
    let mut bundle =
        with_grant(r#"forbid (principal, action in Keyward::Action::"write", resource);"#);
    assert_eq!(outcome(&bundle.decide(&create_key(json!({})))), (Verdict::Deny, Reason::Forbidden));
    // Without the entities of the actions the same policy is silently false: nothing else keeps the
    // call out.
    bundle
        .actions
        .values_mut()
        .for_each(|action| action.entities = cedar_policy::Entities::empty());
    let decision = bundle.decide(&create_key(json!({})));
    assert_eq!(
        (outcome(&decision), decision.errors),
        ((Verdict::Allow, Reason::Permitted), Vec::<String>::new())
    );
}

#[test]
fn a_forbid_speaks_and_the_record_holds_the_clause() {
    let bundle = with_grant(
        r#"forbid (principal, action in Keyward::Action::"key", resource) unless { context.body has scope && context.body.scope == Keyward::KeyScope::"READ" };"#,
    );
    assert_eq!(
        outcome(&bundle.decide(&create_key(json!({})))),
        (Verdict::Allow, Reason::Permitted)
    );
    let decision = bundle.decide(&create_key(json!({"scope": "ALL"})));
    assert_eq!(decision.message, "Do otherwise. [rule]");
    let clause = r#"context.body.scope == Keyward::KeyScope::"READ" is false (context.body.scope = Keyward::KeyScope::"ALL")"#;
    assert_eq!(decision.explanation, [format!("item 0: rule: unless: {clause}")]);
    // The older route may leave the scope out: the guard is the clause that is false, and the rest
    // is not evaluated.
    let old = question(
        catalog(),
        "POST",
        "svc.test/v1/keys?org=o1",
        &json!({"name": "laptop", "publicKey": "rsa:4096"}),
    );
    assert_eq!(
        bundle.decide(&old).explanation,
        ["item 0: rule: unless: context.body has scope is false"]
    );
}

#[test]
fn without_a_grant_the_nearest_one_is_named() {
    let bundle = with_grant(
        r#"permit (principal is Keyward::User in Keyward::Group::"auditors", action, resource == Keyward::Organization::"o2");"#,
    );
    let mut asked = create_key(json!({}));
    asked.caller = caller("auditor-desk", CallerKind::User, &["auditors"]);
    let decision = bundle.decide(&asked);
    assert_eq!(outcome(&decision), (Verdict::Deny, Reason::NotPermitted));
    assert_eq!(decision.message, "No policy permits test.svc.CreateKey to `auditor-desk`.");
    assert_eq!(
        decision.explanation,
        [r#"item 0: nearest grant grant: principal in Keyward::Group::"key-admins" is false"#]
    );
    asked.caller = caller("", CallerKind::User, &[]);
    assert_eq!(outcome(&bundle.decide(&asked)), (Verdict::Deny, Reason::CallerUnknown));
}

#[test]
fn all_items_must_be_allowed() {
    let bundle = with_grant(r#"forbid (principal, action, resource == Keyward::Server::"s2");"#);
    let server = |id: &str| json!({"server_id": id, "keypair": "k"});
    assert_eq!(
        outcome(&bundle.decide(&bind(json!([server("s1"), server("s3")])))),
        (Verdict::Allow, Reason::Permitted)
    );
    let decision =
        bundle.decide(&bind(json!([server("s1"), server("s2"), server("s3"), server("s2")])));
    assert_eq!(outcome(&decision), (Verdict::Deny, Reason::Forbidden));
    assert_eq!(decision.message, "Do otherwise. [rule] (items 1, 3)");
    assert_eq!(bundle.decide(&bind(json!([server("s2")]))).message, "Do otherwise. [rule]");
}

#[test]
fn a_call_that_acts_on_nothing_is_not_allowed_by_default() {
    let bundle =
        with_grant("forbid (principal, action, resource) when { context.batch.items > 10 };");
    let mut asked = bind(json!([{"server_id": "s1"}]));
    asked.facts.as_mut().unwrap().items[0].resource = None;
    assert_eq!(outcome(&bundle.decide(&asked)), (Verdict::Deny, Reason::PolicyError));
    asked.facts.as_mut().unwrap().items.clear();
    assert_eq!(outcome(&bundle.decide(&asked)), (Verdict::Deny, Reason::PolicyError));
    // Discovery acts on the service itself.
    let versions = question(catalog(), "GET", "svc.test/", &Value::Null);
    assert_eq!(outcome(&bundle.decide(&versions)), (Verdict::Allow, Reason::Permitted));
    let closed =
        with_grant(r#"forbid (principal, action, resource == Keyward::Service::"test.svc");"#);
    assert_eq!(outcome(&closed.decide(&versions)), (Verdict::Deny, Reason::Forbidden));
}

#[test]
fn facts_that_do_not_fit_the_schema_deny() {
    let bundle =
        with_grant("forbid (principal, action, resource) when { context.batch.items > 10 };");
    type Change = fn(&mut Question);
    let changes: [(Change, &str); 7] = [
        (
            |q| {
                drop(q.facts.as_mut().unwrap().body.insert("surprise".to_owned(), Fact::Flag(true)))
            },
            "`body.surprise` is not in the schema",
        ),
        (|q| drop(q.facts.as_mut().unwrap().body.remove("title")), "title"),
        (
            |q| drop(q.facts.as_mut().unwrap().body.insert("title".to_owned(), Fact::Number(1))),
            "`body.title` is an integer",
        ),
        (
            |q| {
                drop(q.facts.as_mut().unwrap().body.insert(
                    "scope".to_owned(),
                    Fact::Choice { kind: "KeyScope".to_owned(), value: "RAED".to_owned() },
                ))
            },
            "RAED",
        ),
        (|q| q.caller.identity.as_mut().unwrap().groups.push("key-admns".to_owned()), "key-admns"),
        (
            |q| {
                q.facts.as_mut().unwrap().items[0].resource.as_mut().unwrap().kind =
                    "Server".to_owned()
            },
            "Server",
        ),
        (
            |q| {
                q.facts.as_mut().unwrap().items[0].resource.as_mut().unwrap().parent =
                    Some(("Project".to_owned(), "p".to_owned()))
            },
            "Project",
        ),
    ];
    for (change, expected) in changes {
        let mut asked = create_key(json!({}));
        change(&mut asked);
        let decision = bundle.decide(&asked);
        assert_eq!(outcome(&decision), (Verdict::Deny, Reason::PolicyError), "{expected}");
        assert!(decision.message.contains(expected), "{expected}: {}", decision.message);
    }
}

#[test]
fn what_is_unknown_or_unreadable_is_denied_with_its_reason() {
    let bundle =
        with_grant("forbid (principal, action, resource) when { context.batch.items > 10 };");
    let ask = |method: &str, url: &str| question(catalog(), method, url, &Value::Null);
    assert_eq!(
        outcome(&bundle.decide(&ask("PATCH", "svc.test/orgs/o1/keys"))),
        (Verdict::Deny, Reason::OperationUnknown)
    );
    assert_eq!(
        outcome(&bundle.decide(&ask("GET", "other.test/"))),
        (Verdict::Deny, Reason::HostUnknown)
    );
    for url in ["svc.test/orgs/o1/keys", "svc.test/free/x"] {
        let mut asked = ask("GET", url);
        asked.facts = Err(Unreadable {
            reason: Reason::HeadFraming,
            detail: "two Content-Length".to_owned(),
        });
        let decision = bundle.decide(&asked);
        assert_eq!(
            (outcome(&decision), decision.message.as_str()),
            ((Verdict::Deny, Reason::HeadFraming), "two Content-Length"),
            "{url}"
        );
    }
}

#[test]
fn what_passes_needs_a_known_caller_and_a_policy_that_permits_it() {
    let open = r#"@id("open") @message("All may do all.") permit (principal, action, resource);"#;
    let ask = |path: &str, name: &str, groups: &[&str]| {
        let asked = question(catalog(), "GET", &format!("svc.test/free/{path}"), &Value::Null);
        Question { caller: caller(name, CallerKind::Robot, groups), ..asked }
    };
    let decide =
        |policies: &str, asked: &Question| outcome(&load(policies, "").unwrap().decide(asked));
    assert_eq!(decide(open, &ask("x", "", &[])), (Verdict::Deny, Reason::CallerUnknown));
    assert_eq!(decide(open, &ask("x", "ci", &[])), (Verdict::Allow, Reason::Passthrough));
    assert_eq!(decide(GRANT, &ask("x", "ci", &[])), (Verdict::Deny, Reason::NotPermitted));
    let passing = |more: &str| {
        format!(
            "@id(\"p\") @message(\"m\") permit (principal, action in Keyward::Action::\"passing\", resource);{more}"
        )
    };
    assert_eq!(decide(&passing(""), &ask("x", "ci", &[])), (Verdict::Allow, Reason::Passthrough));
    assert_eq!(decide(&passing(""), &ask("x", "", &[])), (Verdict::Deny, Reason::CallerUnknown));
    let forbid = r#"@id("f") @message("m") forbid (principal, action == Keyward::Action::"test.svc.passing", resource) when { context.path has thing && context.path.thing == "x" };"#;
    assert_eq!(
        decide(&passing(forbid), &ask("x/y", "ci", &[])),
        (Verdict::Deny, Reason::Forbidden)
    );
    assert_eq!(
        decide(&passing(forbid), &ask("z/y", "ci", &[])),
        (Verdict::Allow, Reason::Passthrough)
    );
    let decision = load(&passing(""), "").unwrap().decide(&ask("x", "ci", &[]));
    assert_eq!(decision.deciding.iter().map(|one| one.policy.as_str()).collect::<Vec<_>>(), ["p"]);
    for path in ["a%20b", "a.", "_a", "a%2Eb", "~a", "a+b", "a:b"] {
        assert_eq!(
            decide(open, &ask(path, "ci", &[])),
            (Verdict::Deny, Reason::PathInvalid),
            "{path}"
        );
    }
}

#[test]
fn a_call_that_leaves_its_parent_out_acts_in_the_nameless_one() {
    let ask = |project: Option<&str>| {
        let text = "[[case]]\nname = \"\"\nmethod = \"GET\"\nhost = \"svc.test\"\npath = \"/images/i1\"\nexpect = \"allow\"\n";
        let mut case = cases::parse("test.toml", text).unwrap().remove(0);
        case.headers.extend(project.map(|project| ("x-project-id".to_owned(), project.to_owned())));
        Question {
            caller: caller("ci", CallerKind::Robot, &["key-admins"]),
            ..cases::question(catalog(), &case).unwrap()
        }
    };
    let named = with_grant(r#"forbid (principal, action, resource in Keyward::Project::"p1");"#);
    let demanded = with_grant(
        r#"forbid (principal, action == Keyward::Action::"test.svc.ShowImage", resource in Keyward::Project::"");"#,
    );
    for (bundle, project, reason) in [
        (&named, Some("p1"), Reason::Forbidden),
        (&named, Some("p2"), Reason::Permitted),
        (&named, None, Reason::Permitted),
        (&demanded, Some("p1"), Reason::Permitted),
        (&demanded, None, Reason::Forbidden),
        // Another spelling of the project is refused, and so escapes nothing.
        (&named, Some("P1"), Reason::HeaderInvalid),
        (&named, Some("p1/"), Reason::HeaderInvalid),
        (&named, Some("p1."), Reason::HeaderInvalid),
        (&named, Some("p1%20"), Reason::HeaderInvalid),
        (&named, Some("p1 x"), Reason::HeaderInvalid),
        (&named, Some(""), Reason::HeaderInvalid),
    ] {
        assert_eq!(bundle.decide(&ask(project)).reason, reason, "{project:?}");
    }
    let schema = named.source.schema.as_str();
    assert!(
        schema.contains("// A call may leave its Project out")
            && schema.contains("Keyward::Project::\"\"")
            && !schema.contains("leave its Image out"),
        "{schema}"
    );
}

#[test]
fn shadow_policies_decide_nothing_even_when_they_fail() {
    let shadow = r#"@mode("shadow") forbid (principal, action == Keyward::Action::"test.svc.ListKeys", resource) when { context.query.limit + 9223372036854775807 < 0 };
        @id("trial") @message("On trial.") @mode("shadow") forbid (principal, action in Keyward::Action::"read", resource);"#;
    let decision = with_grant(shadow).decide(&question(
        catalog(),
        "GET",
        "svc.test/orgs/o1/keys?limit=1",
        &Value::Null,
    ));
    assert_eq!(outcome(&decision), (Verdict::Allow, Reason::Permitted));
    assert_eq!(
        decision.shadow.iter().map(|one| one.policy.as_str()).collect::<Vec<_>>(),
        ["trial"]
    );
    assert_eq!((decision.errors.len(), decision.deciding.len()), (0, 1));
    // That it failed is told: enforced, it would deny every call.
    assert!(
        decision.shadow_errors.len() == 1 && decision.shadow_errors[0].policy == "rule",
        "{:?}",
        decision.shadow_errors
    );
    assert!(
        decision.shadow_errors[0].error.starts_with("item 0: ")
            && decision.shadow_errors[0].error.contains("overflow"),
        "{:?}",
        decision.shadow_errors
    );
}

#[test]
fn patterns_describe_the_whole_value_and_are_optional_where_their_field_is() {
    let patterns = "[name]\nfields = [\"body.title\", \"item.keypair\"]\nregex = \"lab|office\"\ndescription = \"\"\n";
    let rule = |clause: &str| {
        load(&format!("{GRANT}@id(\"rule\") @message(\"Do otherwise.\") {clause}"), patterns)
    };
    let bundle = rule(r#"forbid (principal, action == Keyward::Action::"test.svc.CreateKey", resource) unless { context.match.name };"#).unwrap();
    for (title, reason) in [
        ("lab", Reason::Permitted),
        ("office", Reason::Permitted),
        ("lab2", Reason::Forbidden),
        ("my office", Reason::Forbidden),
        ("lab\n", Reason::Forbidden),
    ] {
        assert_eq!(bundle.decide(&create_key(json!({"title": title}))).reason, reason, "{title:?}");
    }
    let unguarded = rule(r#"forbid (principal, action == Keyward::Action::"test.svc.Bind", resource) unless { context.match.name };"#).unwrap_err();
    assert!(unguarded[0].to_string().contains("optional attribute"), "{}", unguarded[0]);
    let bundle =
        rule(r#"forbid (principal, action == Keyward::Action::"test.svc.Bind", resource) when { context.match has name } unless { context.match.name };"#)
            .unwrap();
    assert_eq!(bundle.decide(&bind(json!([{"server_id": "s1"}]))).reason, Reason::Permitted);
    assert_eq!(
        bundle
            .decide(&bind(
                json!([{"server_id": "s1", "keypair": "lab"}, {"server_id": "s2", "keypair": "x"}])
            ))
            .message,
        "Do otherwise. [rule] (item 1)"
    );
}

#[test]
fn an_address_is_one_address_however_it_is_written() {
    let bundle = with_grant(
        r#"forbid (principal, action, resource) unless { context.caller.source.isInRange(ip("10.20.0.0/16")) };"#,
    );
    for (source, reason) in [
        ("10.20.0.1", Reason::Permitted),
        ("::ffff:10.20.0.1", Reason::Permitted),
        ("10.21.0.1", Reason::Forbidden),
        ("fd00:20::1", Reason::Forbidden),
    ] {
        let asked = Question { source: source.parse().unwrap(), ..create_key(json!({})) };
        assert_eq!(bundle.decide(&asked).reason, reason, "{source}");
    }
}

#[test]
fn the_shipped_policies_pass_their_tests() {
    let catalog = crate::catalog::Catalog::load(std::path::Path::new("../../config/apis")).unwrap();
    let groups = [
        "auditors",
        "key-admins",
        "image-admins",
        "phone-ops",
        "codeup-developers",
        "platform-admins",
    ];
    let directory = crate::caller::Directory::of_groups(&groups);
    let report = |errors: Vec<PolicyError>| {
        errors.iter().map(|error| format!("{error}\n")).collect::<String>()
    };
    let bundle = Bundle::load(std::path::Path::new("../../policies"), &catalog, &directory)
        .map_err(report)
        .unwrap_or_else(|errors| panic!("{errors}"));
    let cases = cases::load(std::path::Path::new("../../policies/tests"))
        .map_err(report)
        .unwrap_or_else(|errors| panic!("{errors}"));
    cases::run_all(&bundle, &cases, |case| cases::question(&catalog, case))
        .map_err(report)
        .unwrap_or_else(|errors| panic!("{errors}"));
}

#[test]
fn every_documented_example_fits_the_generated_schema() {
    let catalog = crate::catalog::Catalog::load(std::path::Path::new("../../config/apis")).unwrap();
    let bundle = Bundle::from_texts(
        &[("x.cedar".to_owned(), GRANT.to_owned())],
        None,
        &catalog,
        &directory(),
    )
    .unwrap();
    let hosts = [
        ("alibaba.codeup", "openapi-rdc.aliyuncs.com"),
        ("alibaba.devops", "devops.cn-hangzhou.aliyuncs.com"),
        ("huawei.cph", "cph.cn-north-4.myhuaweicloud.com"),
        ("huawei.ecs", "ecs.cn-north-4.myhuaweicloud.com"),
        ("huawei.ims", "ims.cn-north-4.myhuaweicloud.com"),
        ("huawei.kps", "kms.cn-north-4.myhuaweicloud.com"),
    ];
    for operation in catalog.operations() {
        let (_, host) = hosts.iter().find(|(service, _)| *service == operation.service).unwrap();
        let fits = |field: &Field, text: &str| !matches!(&field.shape, Shape::Text { pattern: Some(pattern), .. } if !pattern.is_match(text));
        let value = |field: &Field| {
            *["1", "v2", "465076de-dc36-4aec-80f5-ef9d8009428f"]
                .iter()
                .find(|text| fits(field, text))
                .unwrap()
        };
        let path = operation.path.iter().fold(operation.template.clone(), |path, field| {
            path.replace(&format!("{{{}}}", field.name), value(field))
        });
        let query: Vec<String> = operation
            .query
            .iter()
            .filter(|field| field.required)
            .map(|field| format!("{}={}", field.name, value(field)))
            .collect();
        let body =
            operation.body.as_ref().and_then(|body| body.example.clone()).unwrap_or_default();
        let asked = question(
            &catalog,
            operation.method.as_str(),
            &format!("{host}{path}?{}", query.join("&")),
            &body,
        );
        let decision = bundle.decide(&asked);
        assert_eq!(
            outcome(&decision),
            (Verdict::Allow, Reason::Permitted),
            "{}: {}",
            operation.operation_id,
            decision.message
        );
    }
}

#[test]
fn a_policy_without_its_two_cases_is_an_error() {
    let bundle = with_grant(r#"forbid (principal, action in Keyward::Action::"write", resource);"#);
    let text = r#"[[case]]
name = "looking"
caller = { name = "ci-keys", kind = "robot", groups = ["key-admins"] }
method = "GET"
host = "svc.test"
path = "/orgs/o1/keys"
expect = "allow"
policies = ["grant"]
"#;
    let cases = cases::parse("c.toml", text).unwrap();
    let run = |cases: &[cases::Case]| {
        cases::run_all(&bundle, cases, |case| cases::question(catalog(), case))
    };
    let errors: Vec<String> = run(&cases).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "x.cedar:1:1: policy `grant` has no test in which it does not decide",
            "x.cedar:3:1: policy `rule` has no test in which it decides"
        ]
    );
    let wrong = cases::parse("c.toml", &text.replace("[\"grant\"]", "[]")).unwrap();
    assert!(
        run(&wrong).unwrap_err()[0]
            .to_string()
            .starts_with("c.toml:1:1: `looking`: expected Allow (permitted) by {}")
    );
    let unknown_key = cases::parse("c.toml", &text.replace("expect", "expects")).unwrap_err();
    assert_eq!(
        (unknown_key.place, unknown_key.message.contains("expects")),
        (Some((7, 1)), true),
        "{unknown_key}"
    );
}

/// Policies of every kind of scope.
const MANY: &str = r#"
@id("a") @message("a") permit (principal in Keyward::Group::"key-admins", action, resource);
@id("b") @message("b") permit (principal is Keyward::User, action in Keyward::Action::"read", resource);
@id("c") @message("c") permit (principal, action == Keyward::Action::"test.svc.Versions", resource);
@id("d") @message("d") permit (principal is Keyward::Robot, action in [Keyward::Action::"read", Keyward::Action::"test.svc.Bind"], resource in Keyward::Project::"p1");
@id("e") @message("e") forbid (principal, action in Keyward::Action::"key", resource) when { context.body.force };
@id("f") @message("f") forbid (principal, action == Keyward::Action::"test.svc.CreateKey", resource) unless { context.body has scope && context.body.scope == Keyward::KeyScope::"READ" };
@id("g") @message("g") forbid (principal, action in [Keyward::Action::"write"], resource == Keyward::Server::"s1");
@id("h") @message("h") forbid (principal, action, resource) when { context.batch.items > 2 };
@id("i") @message("i") forbid (principal, action == Keyward::Action::"test.svc.ListKeys", resource) when { context.query.limit + 9223372036854775800 < 0 };
@id("j") @message("j") forbid (principal is Keyward::Anonymous, action in [Keyward::Action::"discovery", Keyward::Action::"key"], resource) when { context.caller.source.isLoopback() };
"#;

fn any_question() -> impl Strategy<Value = Question> {
    let servers = proptest::collection::vec((0..3, any::<bool>()), 1..5);
    let who = (0..3usize, proptest::sample::subsequence(vec!["key-admins", "auditors"], 0..=2));
    let call = (0..6, any::<bool>(), 0..3usize, 0..20i64);
    (call, servers, who, any::<bool>()).prop_map(
        |((route, force, scope, limit), servers, (kind, groups), loopback)| {
            let mut key =
                json!({"title": "t", "key": "ed25519:256", "scope": "READ", "force": force});
            let mut old = json!({"name": "t", "publicKey": "rsa:2048", "force": force});
            if scope > 0 {
                key["scope"] = json!(["READ", "ALL"][scope - 1]);
                old["scope"] = key["scope"].clone();
            }
            let mut asked = match route {
                0 => question(catalog(), "GET", "svc.test/", &Value::Null),
                1 => question(
                    catalog(),
                    "GET",
                    &format!("svc.test/orgs/o1/keys?limit={limit}"),
                    &Value::Null,
                ),
                2 => question(catalog(), "POST", "svc.test/orgs/o1/keys", &key),
                3 => question(catalog(), "POST", "svc.test/v1/keys?org=o1", &old),
                4 => bind(
                    servers
                        .iter()
                        .map(|(n, named)| {
                            if *named {
                                json!({"server_id": format!("s{n}"), "keypair": "k"})
                            } else {
                                json!({"server_id": format!("s{n}")})
                            }
                        })
                        .collect(),
                ),
                _ => question(catalog(), "GET", "svc.test/nowhere", &Value::Null),
            };
            asked.caller = caller(
                ["", "ci-keys", "key-desk"][kind],
                if kind == 1 { CallerKind::Robot } else { CallerKind::User },
                &groups,
            );
            if loopback {
                asked.source = "127.0.0.1".parse().unwrap();
            }
            asked
        },
    )
}

#[test]
fn the_index_by_action_changes_no_decision() {
    let (indexed, whole) = (load(MANY, "").unwrap(), load(MANY, "").unwrap().unindexed());
    let mut seen = std::collections::BTreeSet::new();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..600 {
        let asked = any_question().new_tree(&mut runner).unwrap().current();
        let (a, b) = (indexed.decide(&asked), whole.decide(&asked));
        assert_eq!(
            (outcome(&a), &a.message, &a.deciding, &a.errors),
            (outcome(&b), &b.message, &b.deciding, &b.errors),
            "{asked:?}"
        );
        seen.extend(a.deciding.iter().map(|one| one.policy.clone()));
        seen.insert(a.reason.code().to_owned());
    }
    // The questions are worth asking: every policy and every reason came up.
    let expected = [
        "a",
        "b",
        "c",
        "caller-unknown",
        "d",
        "e",
        "f",
        "g",
        "h",
        "j",
        "no-policy-permits",
        "operation-unknown",
        "permitted",
        "policy-error",
        "policy-forbids",
    ];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}
