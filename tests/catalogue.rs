//! The shipped catalogue loads, and what is wrong with a document is said with its place.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a mistake here should end the run"
)]

#[test]
fn the_shipped_documents_load() {
    match keyward_decision::catalog::Catalog::load(std::path::Path::new("config/apis")) {
        Ok(catalog) => assert!(catalog.operations().len() > 100, "{}", catalog.operations().len()),
        Err(errors) => {
            panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        }
    }
}

/// What is wrong with the shipped document after a replacement in it.
fn faults(file: &str, from: &str, to: &str) -> Vec<String> {
    let text = std::fs::read_to_string(format!("config/apis/{file}")).unwrap();
    assert!(text.contains(from), "{file} holds {from}");
    let documents = [(file.to_owned(), text.replacen(from, to, 1))];
    let errors = keyward_decision::catalog::Catalog::from_texts(&documents)
        .map(drop)
        .err()
        .unwrap_or_default();
    errors.iter().map(ToString::to_string).collect()
}

/// A place of an outcome that is found in no answer would be taken for absent, and a call that
/// failed for one that succeeded.
#[test]
fn a_misspelt_place_of_an_outcome_does_not_load() {
    let (cph, devops) = ("huawei-cph.yaml", "alibaba-devops.yaml");
    for (file, from, to, wanted) in [
        (
            cph,
            "failed: 'body.jobs[].error_code'",
            "failed: 'body.jobs[].eror_code'",
            "`body.jobs[].eror_code` leads to nothing (did you mean `error_code`",
        ),
        (
            cph,
            "accepted: 'body.jobs[].job_id'",
            "accepted: 'body.jbs[].job_id'",
            "`body.jbs[].job_id` leads to nothing (did you mean `jobs`",
        ),
        (
            cph,
            "accepted: 'body.jobs[].job_id'",
            "accepted: 'body.jobs.job_id'",
            "`body.jobs.job_id` leads to nothing",
        ),
        (
            cph,
            "accepted: body.order_id",
            "accepted: [body.order_id, body.order]",
            "`body.order` leads to nothing",
        ),
        (
            cph,
            "accepted: body.order_id",
            "accepted: header.location",
            "`header.location` is no place of an answer",
        ),
        (
            cph,
            "succeeded: 'body.connect_infos[]'",
            "succeeded: 'body.connect_info[]'",
            "(did you mean `connect_infos`?)",
        ),
        (
            devops,
            "{at: body.result.result, is: false}",
            "{at: body.result.results, is: false}",
            "(did you mean `result`?)",
        ),
        (
            devops,
            "{at: body.success, is: false}",
            "{at: body.success, is: 'false'}",
            "what stands at `body.success` is never \"false\"",
        ),
    ] {
        let told = faults(file, from, to);
        assert_eq!(told.len(), 1, "{to}: {told:?}");
        assert!(
            told[0].starts_with(&format!("{file}:/paths/"))
                && told[0].contains("/x-keyward-outcome: ")
                && told[0].contains(wanted),
            "{to}: {told:?}"
        );
    }
}
