//! What must not load, what must not pass, and the two ways in which Cedar alone would fail open.

use super::testing::{catalog, directory, question};
use super::*;

use crate::reason::Reason;
use serde_json::json;

const GRANT: &str = r#"@id("grant") @message("Key administrators may do all.")
permit (principal in Keyward::Group::"key-admins", action, resource);
"#;

fn load(policies: &str, patterns: &str) -> Result<Bundle, Vec<PolicyError>> {
    let patterns = (!patterns.is_empty()).then(|| ("patterns.toml".to_owned(), patterns.to_owned()));
    Bundle::from_texts(&[("x.cedar".to_owned(), policies.to_owned())], patterns.as_ref(), &catalog(), &directory())
}

fn with_grant(policies: &str) -> Bundle {
    load(&format!("{GRANT}{policies}"), "").unwrap()
}

fn create_key() -> serde_json::Value {
    json!({"title": "laptop", "key": "rsa:4096", "scope": "READ"})
}

#[test]
fn a_bundle_decides() {
    let bundle = with_grant(
        r#"@id("scope") @message("scope must be READ.") forbid (principal, action in Keyward::Action::"key", resource) unless { context.body has scope && context.body.scope == Keyward::KeyScope::"READ" };"#,
    );
    let catalog = catalog();
    let decision = bundle.decide(&question(&catalog, "POST", "svc.test/orgs/o1/keys", create_key()));
    assert_eq!((decision.verdict, decision.reason), (Verdict::Allow, Reason::Permitted), "{decision:#?}");
    let mut body = create_key();
    body["scope"] = json!("ALL");
    let decision = bundle.decide(&question(&catalog, "POST", "svc.test/orgs/o1/keys", body));
    assert_eq!((decision.verdict, decision.reason), (Verdict::Deny, Reason::Forbidden), "{decision:#?}");
    assert_eq!(decision.message, "scope must be READ. [scope]");
    println!("{}", bundle.schema_text());
    println!("{decision:#?}");
}

#[test]
fn the_shipped_policies_pass_their_tests() {
    let catalog = crate::catalog::Catalog::load(std::path::Path::new("config/apis")).unwrap();
    let groups = ["auditors", "key-admins", "image-admins", "phone-ops", "codeup-developers", "platform-admins"];
    let directory = crate::caller::Directory { callers: Vec::new(), groups: groups.map(str::to_owned).to_vec() };
    let report = |errors: Vec<PolicyError>| errors.iter().map(|error| format!("{error}\n")).collect::<String>();
    let bundle = Bundle::load(std::path::Path::new("policies"), &catalog, &directory).map_err(report).unwrap_or_else(|errors| panic!("{errors}"));
    let cases = cases::load(std::path::Path::new("policies/tests")).map_err(report).unwrap_or_else(|errors| panic!("{errors}"));
    cases::run_all(&bundle, &cases, |case| testing::of_case(&catalog, case)).map_err(report).unwrap_or_else(|errors| panic!("{errors}"));
}
