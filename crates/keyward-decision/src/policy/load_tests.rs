//! What must not load: each mistake is an error with its place.

use super::testing::{DOCUMENT, catalog, directory};
use super::*;
use crate::caller::Directory;
use crate::catalog::Catalog;
use crate::catalog::schema::{Field, Shape, TextMeaning};

const GRANT: &str =
    r#"@id("grant") @message("All may look.") permit (principal, action, resource);"#;

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

/// The first error of loading must start with the place and hold the text.
fn check(result: Result<Bundle, Vec<PolicyError>>, place: &str, text: &str) {
    let errors = result.err().unwrap_or_else(|| panic!("loads, but should say: {place} … {text}"));
    let first = errors[0].to_string();
    assert!(
        first.starts_with(place) && first.contains(text),
        "expected `{place}` … `{text}`, got {errors:#?}\n{first}"
    );
}

#[test]
fn a_mistake_in_a_policy_does_not_load() {
    let rule = |condition: &str| {
        format!(
            "@id(\"r\") @message(\"m\")\nforbid (principal, action == Keyward::Action::\"test.svc.CreateKey\", resource)\nunless {{ {condition} }};"
        )
    };
    let scope = |scope: &str| format!("@id(\"r\") @message(\"m\")\nforbid ({scope});");
    let mistakes = [
        (rule("context.body.forse"), "x.cedar:3:10: ", "did you mean `force`?"),
        (
            rule("context.query.limit > 5"),
            "x.cedar:3:10: ",
            "`query.limit` in context for Keyward::Action::\"test.svc.CreateKey\" not found",
        ),
        (
            rule("context.body has scope && context.body.scope == Keyward::KeyScope::\"RAED\""),
            "x.cedar:3:",
            "valid entity eids: \"ALL\", \"READ\"",
        ),
        (
            rule("context.body.scope == Keyward::KeyScope::\"READ\""),
            "x.cedar:3:10: ",
            "optional attribute",
        ),
        (
            rule("context.body.expireTime > context.caller.now"),
            "x.cedar:3:10: ",
            "optional attribute",
        ),
        (rule("context.body.password == \"\""), "x.cedar:3:10: ", "not found"),
        (rule("context.match.nam"), "x.cedar:3:10: ", "not found"),
        (rule("context.body.title == 5"), "x.cedar:3:", "have compatible types"),
        (rule("context.body.title > 5"), "x.cedar:3:", "expected Long but saw String"),
        (
            rule("context.caller.source.isInRange(ip(\"10.20.0.0/160\"))"),
            "x.cedar:3:",
            "10.20.0.0/160",
        ),
        (
            rule("context.caller.now.offset(duration(\"90 days\")) > context.caller.now"),
            "x.cedar:3:",
            "90 days",
        ),
        (rule("true"), "x.cedar:1:1: ", "policy is impossible"),
        (
            rule("context.body.force || context.body has forse"),
            "x.cedar:3:49: ",
            "`context.body.forse` is no field of the calls that this policy covers (policy `r`) (help: did you mean `force`?",
        ),
        (
            rule("context.body has forse && context.body.forse"),
            "x.cedar:3:",
            "`context.body.forse` is no field",
        ),
        (
            rule("!(context has bdy) || context.body.force"),
            "x.cedar:3:",
            "`context.bdy` is no field",
        ),
        (
            rule("if context.body has tag then context.body.force else !context.body.force"),
            "x.cedar:3:",
            "`context.body.tag` is no field",
        ),
        (
            rule("context.body.force || (context has body.parts.a)"),
            "x.cedar:3:",
            "`context.body.parts` is no field",
        ),
        (
            rule("context.body.force || context.body.key has size"),
            "x.cedar:3:",
            "`context.body.key.size` is no field",
        ),
        (
            rule("context.body.force || principal has name"),
            "x.cedar:3:",
            "`principal.name` is no field",
        ),
        (
            rule("context.body.force || context.match has nam"),
            "x.cedar:3:",
            "`context.match.nam` is no field",
        ),
        (
            rule(
                "context.body.force || (if context.body has force then context.body else context.body) has tag",
            ),
            "x.cedar:3:",
            " is no field",
        ),
        (
            rule("context.body.force || resource is Keyward::Server"),
            "x.cedar:3:",
            "`resource is Keyward::Server` is never true",
        ),
        (
            rule("context.body.force || resource in Keyward::Project::\"p1\""),
            "x.cedar:3:",
            "`resource in Keyward::Project::\"p1\"` is never true",
        ),
        (
            rule("context.body.force || resource == Keyward::Server::\"s1\""),
            "x.cedar:3:",
            "`resource == Keyward::Server::\"s1\"` is never true",
        ),
        (
            rule("context.body.force || (resource is Keyward::Server && context.body.typo)"),
            "x.cedar:3:",
            "`resource is Keyward::Server` is never true",
        ),
        (
            scope("principal in Keyward::Group::\"key-admns\", action, resource"),
            "x.cedar:2:",
            "\"key-admins\"",
        ),
        (
            scope("principal is Keyward::Usr, action, resource"),
            "x.cedar:2:",
            "did you mean `Keyward::User`?",
        ),
        (
            scope("principal, action == Keyward::Action::\"test.svc.CreateKeys\", resource"),
            "x.cedar:2:",
            "did you mean `Keyward::Action::\"test.svc.CreateKey\"`?",
        ),
        (
            scope("principal, action in Keyward::Action::\"writes\", resource"),
            "x.cedar:2:",
            "Keyward::Action::\"write\"",
        ),
        (scope("principal == ?principal, action, resource"), "x.cedar:1:1: ", "template"),
        (rule("true").replace("unless", "unles"), "x.cedar:3:1: ", "either `when` or `unless`"),
        (
            rule("context.body.force").replacen('\n', " @mod(\"shadow\")\n", 1),
            "x.cedar:1:24: ",
            "`@mod` is no annotation",
        ),
        (
            format!("{GRANT}\n@id(\"r\") forbid (principal, action, resource);"),
            "x.cedar:2:1: ",
            "no `@message",
        ),
        (
            format!("{GRANT}\n@message(\"m\") forbid (principal, action, resource);"),
            "x.cedar:2:1: ",
            "no `@id",
        ),
        (format!("{GRANT}\n{GRANT}"), "x.cedar:2:1: ", "the id `grant` is taken by x.cedar:1"),
        (
            rule("context.body.force").replacen('\n', " @mode(\"shaddow\")\n", 1),
            "x.cedar:1:24: ",
            "`shaddow` does not exist (help: enforce or shadow)",
        ),
        (
            format!("{GRANT}\n{}", GRANT.replacen("grant", "g2\") @mode(\"shadow", 1)),
            "x.cedar:2:",
            "a permit in shadow would show nothing",
        ),
        (
            rule("context.body.force").replacen('\n', " @mode(\"shadow\")\n", 1),
            "x.cedar: ",
            "no enforced policy",
        ),
        (String::new(), "x.cedar: ", "no enforced policy"),
    ];
    for (policy, place, text) in mistakes {
        check(load(&policy, ""), place, text);
    }
}

#[test]
fn ids_are_unique_over_files() {
    let files = ["a.cedar", "b.cedar"].map(|file| (file.to_owned(), GRANT.to_owned()));
    check(
        Bundle::from_texts(&files, None, catalog(), &directory()),
        "b.cedar:1:1: ",
        "taken by a.cedar:1",
    );
}

#[test]
fn a_mistake_in_a_pattern_does_not_load() {
    let pattern = "[name]\nfield = \"body.title\"\nregex = \"lab-.*\"\ndescription = \"d\"\n";
    assert!(load(GRANT, pattern).is_ok());
    let mistakes = [
        (
            pattern.replace("body.title", "body.titel"),
            "patterns.toml:2:9: ",
            "no action has a text `body.titel`",
        ),
        (
            pattern.replace("body.title", "body.force"),
            "patterns.toml:2:9: ",
            "no action has a text `body.force`",
        ),
        (
            pattern.replace("body.title", "body.password"),
            "patterns.toml:2:9: ",
            "no action has a text `body.password`",
        ),
        (pattern.replace("regex", "regexp"), "patterns.toml:3:1: ", "regexp"),
        (pattern.replace("lab-.*", "lab-["), "patterns.toml:3:9: ", "unclosed character class"),
        (pattern.replace("lab-.*", "lab)|(office"), "patterns.toml:3:9: ", "unopened group"),
        (pattern.replace("field = \"body.title\"\n", ""), "patterns.toml:1:1: ", "has no field"),
        (pattern.replace("]", ""), "patterns.toml:1:", ""),
        (
            pattern.replace("description = \"d\"\n", ""),
            "patterns.toml:1:1: ",
            "`description` is missing: add it",
        ),
    ];
    for (patterns, place, text) in mistakes {
        check(load(GRANT, &patterns), place, text);
    }
}

#[test]
fn a_catalogue_that_contradicts_itself_does_not_load() {
    let with = |from: &str, to: &str| {
        assert!(DOCUMENT.contains(from), "{from}");
        let catalog =
            Catalog::from_texts(&[("svc.yaml".to_owned(), DOCUMENT.replacen(from, to, 1))])
                .unwrap();
        Bundle::from_texts(
            &[("x.cedar".to_owned(), GRANT.to_owned())],
            None,
            &catalog,
            &directory(),
        )
    };
    let aliases = |result: Result<Bundle, Vec<PolicyError>>, text: &str| {
        let message = result.unwrap_err()[0].to_string();
        let routes = message.contains("`CreateKey`") && message.contains("`CreateKeyOld`");
        assert!(
            routes && message.contains("are both test.svc.CreateKey") && message.contains(text),
            "{text}: {message}"
        );
    };
    aliases(with("title: {type: string}", "title: {type: integer}"), "`context.body.title` is");
    aliases(
        with("title: {type: string}", "title: {type: string, x-keyward-secret: true}"),
        "`context.body.title` is",
    );
    aliases(
        with(
            "x-keyward-alias-of: CreateKey\n      x-keyward-groups: [write, key]",
            "x-keyward-alias-of: CreateKey\n      x-keyward-groups: [read, key]",
        ),
        "groups differ",
    );
    let closed_set = with("enum: [READ, ALL]", "enum: [READ, WRITE]").unwrap_err()[0].to_string();
    assert!(
        closed_set.contains("`KeyScope`")
            && closed_set.contains("body.scope")
            && closed_set.contains("[\"READ\", \"WRITE\"]"),
        "{closed_set}"
    );
    check(
        with("x-keyward-enum: KeyScope", "x-keyward-enum: User"),
        "svc.yaml: ",
        "`User` is keyward's own",
    );
    check(
        with(
            "keypair: {type: string, x-keyward-free-name: true}",
            "keypair: {type: string, enum: [a, b], x-keyward-enum: Server}",
        ),
        "svc.yaml: ",
        "`Server` is a closed set too",
    );
    check(
        with("x-keyward-enum: KeyScope", "x-keyward-enum: key-scope"),
        "svc.yaml: ",
        "cannot be the name of a Cedar type",
    );
    check(
        with("{type: Organization, id: path.org}", "{type: Group, id: path.org}"),
        "svc.yaml: ",
        "`Group` is keyward's own",
    );
    check(
        with(
            "name: {type: string, x-keyward-as: title}",
            "name: {type: string, x-keyward-as: key}",
        ),
        "svc.yaml: ",
        "two fields are shown to policies as `key`",
    );
}

#[test]
fn a_source_leads_to_something_of_one_spelling() {
    let with = |from: &str, to: &str| {
        assert!(DOCUMENT.contains(from), "{from}");
        let loaded =
            Catalog::from_texts(&[("svc.yaml".to_owned(), DOCUMENT.replacen(from, to, 1))]);
        loaded
            .err()
            .map(|errors| errors.iter().map(ToString::to_string).collect::<String>())
            .unwrap_or_default()
    };
    let org =
        "{name: org, in: path, required: true, schema: {type: string, pattern: '^[a-z0-9]+$'}}";
    let spelt = |schema: &str| {
        with(org, &format!("{{name: org, in: path, required: true, schema: {schema}}}"))
    };
    for schema in [
        "{type: string, enum: [a, b]}",
        "{type: integer}",
        "{type: string, x-keyward-free-name: true}",
        "{type: string, pattern: '^[A-Za-z][A-Za-z0-9-]*$'}",
    ] {
        assert_eq!(spelt(schema), "", "{schema}");
    }
    // What a document lets be spelt in several ways is taken for a free name: a call with another
    // spelling is refused.
    for schema in [
        "{type: string}",
        "{type: string, minLength: 1, maxLength: 32}",
        "{type: string, pattern: '[a-z]+'}",
        "{type: string, pattern: '^[a-z]+'}",
        "{type: string, pattern: '^[a-z/]+$'}",
        "{type: string, pattern: '^[a-z.]+$'}",
        "{type: string, pattern: '^[a-z ]+$'}",
        "{type: string, pattern: '^[a-z%0-9]+$'}",
        "{type: string, pattern: '^.*$'}",
        "{type: string, x-keyward-free-name: false}",
    ] {
        let document = DOCUMENT.replacen(
            org,
            &format!("{{name: org, in: path, required: true, schema: {schema}}}"),
            1,
        );
        let catalog = Catalog::from_texts(&[("svc.yaml".to_owned(), document)])
            .unwrap_or_else(|errors| panic!("{schema}: {errors:?}"));
        let of_path =
            |field: &Field| matches!(&field.shape, Shape::Text { meaning: TextMeaning::Name, .. });
        assert!(
            catalog
                .operations()
                .iter()
                .filter_map(|op| op.path.iter().find(|field| field.name == "org"))
                .all(of_path),
            "{schema}"
        );
    }
    let uuid = spelt("{type: string, format: uuid}");
    assert!(uuid.contains("what stands at `path.org` can be spelt in several ways"), "{uuid}");
    for (from, to, wanted) in [
        (
            "keypair: 'body.servers[].keypair'",
            "keypair: 'body.servers[].keypairs'",
            "`body.servers[].keypairs` leads to nothing",
        ),
        (
            "keypair: {type: string, x-keyward-free-name: true}",
            "keypair: {type: string, x-keyward-secret: true}",
            "policies cannot see `body.servers[].keypair`",
        ),
        (
            "{type: Organization, id: path.org}",
            "{type: Organization, id: path.organization}",
            "`path.organization` leads to nothing",
        ),
        (
            "{type: Organization, id: path.org}",
            "{type: Organization, id: body.org}",
            "`body.org` leads to nothing",
        ),
        ("id: item.server_id", "id: item.server", "`item.server` leads to nothing"),
        (
            "in: {type: Project, id: path.project}",
            "in: {type: Project, id: query.project}",
            "`query.project` leads to nothing",
        ),
        (
            "id: header.x-project-id",
            "id: header.x-projet-id",
            "`header.x-projet-id` leads to nothing",
        ),
    ] {
        assert!(with(from, to).contains(wanted), "{to}: {}", with(from, to));
    }
}

#[test]
fn the_schema_without_groups_is_valid_and_the_hash_covers_all_that_decides() {
    let bundle = |policies: &str, patterns: &str, groups: &[&str]| {
        let directory = Directory::of_groups(groups);
        let patterns =
            (!patterns.is_empty()).then(|| ("patterns.toml".to_owned(), patterns.to_owned()));
        Bundle::from_texts(
            &[("x.cedar".to_owned(), policies.to_owned())],
            patterns.as_ref(),
            catalog(),
            &directory,
        )
        .unwrap()
    };
    let pattern = "[name]\nfield = \"body.title\"\nregex = \"lab-.*\"\ndescription = \"d\"\n";
    let hashes = [
        bundle(GRANT, "", &[]).hash,
        bundle(GRANT, "", &["a"]).hash,
        bundle(&format!("{GRANT} "), "", &[]).hash,
        bundle(GRANT, pattern, &[]).hash,
        bundle(GRANT, &pattern.replace("lab", "bal"), &[]).hash,
    ];
    let distinct: std::collections::BTreeSet<_> = hashes.iter().collect();
    assert!(
        distinct.len() == hashes.len() && hashes.iter().all(|hash| hash.starts_with("sha256:")),
        "{hashes:?}"
    );
    assert_eq!(bundle(GRANT, "", &[]).hash, hashes[0]);
}

#[test]
fn a_listing_says_where_a_policy_stands() {
    let bundle = load(&format!("// A comment.\n\n{GRANT}\n"), "").unwrap();
    let listing: Vec<&Listing> = bundle.policies().collect();
    assert_eq!(
        (
            listing[0].id.as_str(),
            listing[0].file.as_str(),
            listing[0].line,
            listing[0].text.as_str()
        ),
        ("grant", "x.cedar", 3, GRANT)
    );
    assert_eq!((listing[0].mode, listing[0].effect), (Mode::Enforce, Effect::Permit));
}

/// Loads, although parts of it hold for some of the calls only.
#[test]
fn a_part_that_holds_for_some_calls_is_no_mistake() {
    for condition in [
        "context.body has expireTime && context.body.expireTime > context.caller.now",
        "context has body && context.body has scope",
        "!(context.body has tags) || context.body.force",
        "context.caller.source.isLoopback() && (resource is Keyward::Organization || resource is Keyward::Server)",
        "action == Keyward::Action::\"test.svc.CreateKey\" && context.body.force",
        "principal is Keyward::Robot || principal == Keyward::User::\"desk\"",
        "resource in Keyward::Project::\"p1\" || principal in Keyward::Group::\"auditors\"",
        "context.body.key.bits > 3000 || (if context.body has scope then context.body.scope == Keyward::KeyScope::\"READ\" else false)",
    ] {
        for action in [
            "action == Keyward::Action::\"test.svc.CreateKey\"",
            "action in [Keyward::Action::\"test.svc.CreateKey\", Keyward::Action::\"test.svc.Bind\"]",
        ] {
            let several = action.contains("Bind");
            if several == (condition.contains("Server") || condition.contains("Project")) {
                let rule = format!(
                    "{GRANT}\n@id(\"r\") @message(\"m\") forbid (principal, {action}, resource) unless {{ {condition} }};"
                );
                load(&rule, "").unwrap_or_else(|errors| panic!("{condition}: {errors:#?}"));
            }
        }
    }
}

#[test]
fn all_mistakes_are_told_at_once_and_each_of_them_once() {
    let rule = |id: &str, condition: &str| {
        format!(
            "@id(\"{id}\") @message(\"m\") forbid (principal, action == Keyward::Action::\"test.svc.CreateKey\", resource) when {{ {condition} }};\n"
        )
    };
    let policies = format!(
        "{GRANT}\n{}{}{}@id(\"x\") permit (principal, action, resource);\n",
        rule("a", "context.body.forse"),
        rule("b", "context.body.force || context.body has titel"),
        rule("c", "context.body has forse")
    );
    let errors: Vec<String> =
        load(&policies, "").unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 4, "{errors:#?}");
    for (error, wanted) in errors.iter().zip(["forse", "titel", "forse", "no `@message"]) {
        assert!(error.contains(wanted), "{error}");
    }
    let files = [
        ("x.cedar".to_owned(), GRANT.to_owned()),
        ("y.cedar".to_owned(), "permit (principle, action, resource);".to_owned()),
    ];
    let patterns = (
        "patterns.toml".to_owned(),
        "[name]\nfield = \"body.titel\"\nregex = \".*\"\ndescription = \"d\"\n".to_owned(),
    );
    let errors = Bundle::from_texts(&files, Some(&patterns), catalog(), &directory()).unwrap_err();
    let places: Vec<&str> = errors.iter().map(|error| error.file.as_str()).collect();
    assert_eq!(places, ["patterns.toml", "y.cedar"], "{errors:#?}");
}

/// What may be in a document that cannot be read, or among groups that are not known, is no mistake
/// of a policy; what a call that is known does not have is one.
#[test]
fn a_part_of_the_catalogue_makes_no_mistakes_and_hides_few() {
    let dir = tempfile::tempdir().unwrap();
    let copy = |from: &str, to: &str| {
        std::fs::create_dir(dir.path().join(to)).unwrap();
        for entry in std::fs::read_dir(from)
            .unwrap()
            .map(Result::unwrap)
            .filter(|entry| entry.path().is_file())
        {
            std::fs::copy(entry.path(), dir.path().join(to).join(entry.file_name())).unwrap();
        }
    };
    copy("../../config/apis", "apis");
    copy("../../policies", "policies");
    let mistakes = |document: &str| {
        let path = dir.path().join("apis").join(document);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, "openapi: 2.0.0\n").unwrap();
        let (catalog, errors) = Catalog::read(&dir.path().join("apis"));
        std::fs::write(&path, text).unwrap();
        assert_eq!(
            errors.iter().map(|error| error.place.as_deref()).collect::<Vec<_>>(),
            [Some("/openapi")],
            "{document}: {errors:?}"
        );
        Bundle::mistakes(&dir.path().join("policies"), &catalog, &Directory::default())
    };
    for document in ["huawei-kps.yaml", "huawei-ims.yaml", "alibaba-codeup.yaml"] {
        assert_eq!(mistakes(document), [], "{document}");
    }
    let path = dir.path().join("policies/20-keys.cedar");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("context.body.force", "context.body.forse", 1)).unwrap();
    let found = mistakes("alibaba-codeup.yaml");
    assert!(
        found.len() == 1 && found[0].message.contains("`body.forse`") && found[0].place.is_some(),
        "{found:?}"
    );
    assert_eq!(mistakes("huawei-kps.yaml"), []);
}
