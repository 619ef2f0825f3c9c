//! Answers far behind their requests: what is held keeps them, and what has lost its own says so.

use super::*;

impl Site {
    fn call(&self, step: u64, id: AuditId, kind: Kind) {
        let time = at(step);
        let leaf = match kind {
            Kind::Answer => {
                json!({"v": 1, "kind": "answer", "id": id.to_string(), "time": time.rfc3339(), "outcome": "succeeded", "status": 200})
            }
            _ => {
                json!({"v": 1, "kind": "request", "id": id.to_string(), "time": time.rfc3339(), "caller": {"name": "late"}, "decision": {"verdict": "allow"}})
            }
        };
        self.journal
            .append_blocking(Record { id, kind, time, leaf: canonical(&leaf), content: None })
            .unwrap();
    }

    /// How many exchanges have an outcome, and those that are found by it.
    fn outcomes(&self, outcome: &str) -> (u64, Vec<AuditId>) {
        let (reader, filter) =
            (Reader::of(&self.journal), Filter::parse([("outcome", outcome)]).unwrap());
        let page = reader.query(&filter, 1000, None).unwrap();
        assert!(page.exchanges.iter().all(|exchange| exchange.outcome() == outcome));
        (
            reader.count(&filter, None).unwrap().total,
            page.exchanges.iter().map(|exchange| exchange.id).collect(),
        )
    }
}

/// One call begins in the first segment and one in the third; each is answered two segments later.
fn filled(site: &Site) -> [AuditId; 2] {
    let [held, lost] = [AuditId::new(), AuditId::new()];
    site.fill(0..5);
    site.call(5, held, Kind::Forwarded);
    site.fill(106..100 + 2 * SEGMENT + 10);
    site.call(300, held, Kind::Answer);
    site.call(301, lost, Kind::Forwarded);
    site.fill(302..302 + 2 * SEGMENT);
    site.call(500, lost, Kind::Answer);
    site.fill(501..501 + 2 * SEGMENT);
    site.seal();
    [held, lost]
}

#[test]
fn a_hold_keeps_the_answer_wherever_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let site = site(dir.path(), Some(Duration::from_secs(1)), None);
    let [held, lost] = filled(&site);
    let holds = site
        .holds("[[hold]]\nname = 'case 17'\nwhere = 'caller = late and seq < 64'\nreason = 'r'\n");
    let plan = site.retention.prune(&holds, at(10_000)).unwrap();
    assert_eq!(
        plan.held.iter().map(|(_, about)| about.range.start).collect::<Vec<_>>(),
        [0, SEGMENT, 2 * SEGMENT]
    );
    let show = |site: &Site, id| Reader::of(&site.journal).show(id).unwrap().unwrap();
    assert_eq!(show(&site, held).outcome(), "succeeded");

    // What is kept for an answer has lost one of its own: it is not open, however it is asked for.
    let check = |site: &Site| {
        assert_eq!(show(site, lost).outcome(), "unknown");
        assert_eq!(site.outcomes("open"), (0, vec![]));
        assert_eq!(site.outcomes("unknown"), (1, vec![lost]));
        assert_eq!(site.outcomes("succeeded"), (1, vec![held]));
        let line = crate::query::render::exchange_json(&show(site, lost));
        assert_eq!(crate::exchange::Exchange::read(&line).unwrap().outcome(), "unknown");
    };
    check(&site);
    site.journal.tiered().unwrap().reindex(true, |_, _| ()).unwrap();
    check(&site);
    drop(site);
    assert_eq!(TieredStore::differing(dir.path(), &|_, _| ()).unwrap(), []);
    check(&self::site(dir.path(), None, None));
}

/// An index says where answers are, and one that does not is no reason to let them go.
#[test]
fn an_answer_is_found_where_no_index_knows_it() {
    let dir = tempfile::tempdir().unwrap();
    let site = self::site(dir.path(), Some(Duration::from_secs(1)), None);
    let [_, lost] = filled(&site);
    drop(site);
    let index = crate::segment::path(&dir.path().join("segments"), 0, "index");
    std::fs::write(&index, b"none").unwrap();
    let site = self::site(dir.path(), Some(Duration::from_secs(1)), None);
    let store = site.journal.tiered().unwrap();
    let of = |first: u64| store.answers_behind(&(first..first + SEGMENT), true).unwrap();
    let answer = Reader::of(&site.journal).show(lost).unwrap().unwrap().answer.unwrap().seq;
    assert_eq!((of(SEGMENT), of(2 * SEGMENT)), (vec![], vec![answer]));
    // By the index alone when there is one: it may have been made before the answer came.
    let by_index = store.answers_behind(&(2 * SEGMENT..3 * SEGMENT), false).unwrap();
    assert!(by_index.is_empty() || by_index == [answer], "{by_index:?}");
    assert_eq!((of(0).len(), store.answers_behind(&(0..SEGMENT), false).unwrap()), (1, of(0)));
}
