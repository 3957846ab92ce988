//! What does the definition of the point-in-time join say, taken literally?
//!
//! Nested loops over plain structs with 128-bit arithmetic; it shares no code with the kernel, on purpose.

/// A row of the spine; a `None` cell is a null key.
#[derive(Clone, Debug)]
pub(super) struct Entity {
    pub(super) key: Vec<Option<u8>>,
    pub(super) time: i64,
}

/// A row of the source; its place in the list is its position.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub(super) key: Vec<Option<u8>>,
    pub(super) event: Option<i64>,
    pub(super) created: Option<i64>,
    pub(super) tie: Option<u8>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) available_after: i64,
    pub(super) ttl: Option<i64>,
    pub(super) as_of: bool,
    pub(super) trusted_from: Option<i64>,
    pub(super) tie_break: bool,
    pub(super) known_until: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Winner(usize),
    Expired,
    Unmatched,
    NullKey,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) answers: Vec<Answer>,
    pub(super) known_later: u64,
    pub(super) full_ties: u64,
    pub(super) tied_rows: u64,
}

pub(super) fn join(spine: &[Entity], source: &[Fact], terms: Terms) -> Expected {
    let mut expected = Expected::default();
    let mut winners = std::collections::BTreeSet::new();
    for entity in spine {
        let answer = answer(entity, source, terms, terms.as_of);
        expected.answers.push(answer);
        if terms.as_of {
            let other = self::answer(entity, source, terms, false);
            let winner = |answer| matches!(answer, Answer::Winner(_)).then_some(answer);
            expected.known_later += u64::from(winner(answer) != winner(other));
        }
        let Answer::Winner(winner) = answer else { continue };
        let best = &source[winner];
        if !terms.as_of && trusted(best, terms).is_some_and(|created| created > i128::from(entity.time)) {
            expected.known_later += 1;
        }
        let tied = source
            .iter()
            .enumerate()
            .filter(|(at, fact)| {
                *at != winner
                    && fact.key == best.key
                    && fact.event == best.event
                    && fact.created == best.created
                    && (!terms.tie_break || fact.tie == best.tie)
            })
            .count() as u64;
        expected.full_ties += u64::from(tied > 0);
        if winners.insert(winner) {
            expected.tied_rows += tied;
        }
    }
    expected
}

fn answer(entity: &Entity, source: &[Fact], terms: Terms, as_of: bool) -> Answer {
    if entity.key.contains(&None) {
        return Answer::NullKey;
    }
    let time = i128::from(entity.time);
    let mut best: Option<usize> = None;
    for (at, fact) in source.iter().enumerate() {
        let Some(event) = fact.event.map(i128::from) else {
            continue;
        };
        let available = event + i128::from(terms.available_after);
        let visible = trusted(fact, terms).map_or(available, |created| created.max(available));
        if terms.known_until.is_some_and(|until| visible > i128::from(until)) {
            continue;
        }
        let known = event + i128::from(terms.available_after) <= time
            && (!as_of || trusted(fact, terms).is_none_or(|created| created <= time));
        if fact.key != entity.key || !known {
            continue;
        }
        // `None` is below `Some`, and a later row beats an equal one.
        let rank = |fact: &Fact| {
            (
                fact.event,
                fact.created,
                if terms.tie_break { fact.tie } else { None },
            )
        };
        if best.is_none_or(|best| rank(fact) >= rank(&source[best])) {
            best = Some(at);
        }
    }
    match best {
        None => Answer::Unmatched,
        Some(best) => {
            let event = source[best].event.map_or(0, i128::from);
            match terms.ttl {
                Some(ttl) if event < time - i128::from(ttl) => Answer::Expired,
                _ => Answer::Winner(best),
            }
        }
    }
}

/// The created time where it exists and means something.
fn trusted(fact: &Fact, terms: Terms) -> Option<i128> {
    fact.created
        .filter(|created| terms.trusted_from.is_none_or(|from| *created >= from))
        .map(i128::from)
}
