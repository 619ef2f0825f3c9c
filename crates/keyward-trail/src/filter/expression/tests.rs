//! The syntax of expressions, and what is said of mistakes.

use super::*;
use crate::filter::condition::Match;

/// The expression in full parentheses.
fn shape(text: &str) -> String {
    fn show(expression: &Expression) -> String {
        let list = |parts: &[Expression], by: &str| {
            format!("({})", parts.iter().map(show).collect::<Vec<_>>().join(by))
        };
        match expression {
            Expression::All(parts) => list(parts, " & "),
            Expression::Any(parts) => list(parts, " | "),
            Expression::Not(part) => format!("!{}", show(part)),
            Expression::Test(Test::Field(_, Match::Exact(value))) => value.clone(),
            Expression::Test(Test::Field(_, Match::Prefix(value))) => format!("{value}*"),
            Expression::Test(Test::Field(_, Match::Number(range))) => {
                format!("{}..{}", range.start, range.end)
            }
            Expression::Test(Test::Seq(range)) => format!("#{}..{}", range.start, range.end),
            Expression::Test(other) => format!("{other:?}"),
        }
    }
    show(&Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")))
}

#[test]
fn conditions_join_as_people_expect() {
    for (text, wanted) in [
        ("caller = a", "a"),
        ("caller=a", "a"),
        ("caller = a or caller = b and caller = c", "(a | (b & c))"),
        ("(caller = a or caller = b) and caller = c", "((a | b) & c)"),
        ("not caller = a and caller = b", "(!a & b)"),
        ("not (caller = a and caller = b)", "!(a & b)"),
        ("caller != a", "!a"),
        ("NOT caller in (a, b) OR caller NOT IN (c)", "(!(a | b) | !(c))"),
        ("caller in(a,b)", "(a | b)"),
        ("action = huawei.ims.* and caller = \"night shift\"", "(huawei.ims.* & night shift)"),
        ("action = \"huawei.ims.*\"", "huawei.ims.*"),
        ("caller = 'a \"b\" \\\\ c'", "a \"b\" \\ c"),
        (r"resource = odd\*", "odd*"),
        ("request.call.path=/v2/a?b=c!d", "/v2/a?b=c!d"),
        ("status >= 400 and status < 500", "(400..18446744073709551615 & 0..500)"),
        ("status = 4xx", "4*"),
        ("seq > 5 and seq <= 9", "(#6..18446744073709551615 & #0..10)"),
        ("seq = 7", "#7..8"),
        ("request.body.length > 100", "101..18446744073709551615"),
        ("  caller\n=\ta  ", "a"),
        ("caller = Zoë", "Zoë"),
        ("reason = body-*", "body-*"),
    ] {
        assert_eq!(shape(text), wanted, "{text}");
    }
    let nested = format!("{}caller = a{}", "(".repeat(60), ")".repeat(60));
    assert_eq!(shape(&nested), "a");
}

#[test]
fn a_mistake_is_named_with_its_column_and_what_is_allowed() {
    let deep = format!("{}caller = a{}", "not ".repeat(100), "");
    for (text, column, says) in [
        ("", 1, "a condition must come"),
        ("caller", 7, "`=`, `!=`"),
        ("caller =", 9, "a value"),
        ("caller = a b", 12, "quotes"),
        ("caller = a and", 15, "a condition must come"),
        ("caller = a and or caller = b", 16, "`or`"),
        ("(caller = a", 12, "`)`"),
        ("caller = a)", 11, "was not expected"),
        ("caller in a", 11, "`(`"),
        ("caller in (a b)", 14, "`,` or `)`"),
        ("caller in ()", 12, "a value"),
        ("caller not = a", 12, "`in`"),
        ("stauts = 4xx", 1, "`status`"),
        ("caller = a and decision = denied", 27, "allow, deny, pass"),
        ("status in (200, 999)", 17, "`4xx`"),
        ("caller > a", 8, "no order"),
        ("status > 4xx", 10, "`400`"),
        ("time > lately", 8, "`7d`"),
        ("time = 2h", 8, "`<`"),
        ("Zoë = a", 1, "unknown filter"),
        ("caller = Zoë and calller = b", 18, "`caller`"),
        ("caller = \"a", 10, "no end"),
        ("caller ! a", 8, "`!`"),
        ("\"caller\" = a", 1, "`\"`"),
        ("outcome = body-*", 11, "succeeded"),
        (deep.as_str(), 261, "64"),
    ] {
        match Expression::parse(text) {
            Err(FilterError::Where { column: found, why }) => {
                assert_eq!(found, column, "{text}: {why}");
                assert!(why.contains(says), "{text}: {why}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    assert!(
        Expression::parse(&"a".repeat(CHARACTERS_MAX + 1))
            .unwrap_err()
            .to_string()
            .contains("longer")
    );
}

#[test]
fn events_and_ids_are_asked_for_by_name() {
    let wants = |text| {
        let expression = Expression::parse(text).unwrap();
        [Kind::Forwarded, Kind::Refused, Kind::Event, Kind::Answer]
            .map(|kind| expression.wants(kind))
    };
    assert_eq!(wants("caller = a"), [true, true, false, false]);
    assert_eq!(wants("event = started or caller = a"), [false, false, true, false]);
    assert_eq!(
        wants("caller = a or id = 01a20474-d8d7-77ba-a0d5-f27511a8720a"),
        [true, true, true, false]
    );
}

#[test]
fn what_must_hold_is_known() {
    let parse = |text| Expression::parse(text).unwrap();
    assert_eq!(parse("seq >= 5 and (seq < 9 and caller = a)").range(), 5..9);
    assert_eq!(parse("seq >= 5 or seq < 9").range(), 0..u64::MAX);
    assert_eq!(parse("not seq >= 5").range(), 0..u64::MAX);
    assert_eq!(
        parse("caller = a and not caller = b and (action = c or action = d)").needles(),
        ["a"]
    );
}
