//! Which slots and generations views have after an apply: append-only, a hole for what goes.

use std::collections::BTreeSet;

use larder_base::model::FeatureView;
use larder_base::{
    Error, Generation, JoinKey, Micros, ProjectName, Result, Retired, Slot, StoreName, ViewLayout,
};

/// Most slots a layout may have, holes included: the row header counts them in 16 bits.
const MAX_SLOTS: usize = 65_535;

/// What becomes of one view's layout.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Evolution {
    /// The layout after the apply.
    pub(super) layout: ViewLayout,
    /// Why values must be written again, where they must.
    pub(super) backfill: Vec<String>,
    /// What the view had before and uses no more.
    pub(super) retired: Option<Retired>,
    /// The retired generation that lives again.
    pub(super) revived: Option<Generation>,
}

/// The place of a view: its project, keys and store.
pub(super) struct Place<'a> {
    pub(super) project: &'a ProjectName,
    pub(super) view: &'a FeatureView,
    pub(super) join_keys: Vec<JoinKey>,
    pub(super) store: StoreName,
}

/// The layout of a view after an apply, from what it was before.
pub(super) fn evolve(
    place: &Place<'_>,
    before: Option<(&ViewLayout, &StoreName)>,
    retired: &[Retired],
    taken: &mut BTreeSet<Generation>,
    now: Micros,
    revive: bool,
) -> Result<Evolution> {
    if let Some((old, store)) = before
        && *store == place.store
        && old.join_keys() == place.join_keys
    {
        let (layout, backfill) = grow(old, place)?;
        return Ok(Evolution {
            layout,
            backfill,
            retired: None,
            revived: None,
        });
    }
    let retire = before.map(|(old, store)| Retired {
        layout: old.clone(),
        store: store.to_string(),
        at: now,
        reclaiming: false,
    });
    let alive = |r: &&Retired| {
        revive
            && !r.reclaiming
            && *r.layout.view() == place.view.name
            && r.layout.join_keys() == place.join_keys
            && r.store == place.store.as_str()
    };
    if let Some(again) = retired.iter().rev().find(alive) {
        let (layout, backfill) = grow(&again.layout, place)?;
        let revived = Some(layout.generation());
        return Ok(Evolution {
            layout,
            backfill,
            retired: retire,
            revived,
        });
    }
    let mut generation = Generation(larder_base::random::u64() as u32);
    while generation.0 == 0 || !taken.insert(generation) {
        generation = Generation(larder_base::random::u64() as u32);
    }
    let slots = place
        .view
        .features
        .iter()
        .map(|f| Slot::new(f.name.clone(), f.value_type))
        .collect();
    let layout = ViewLayout::new(
        place.project.clone(),
        place.view.name.clone(),
        generation,
        place.join_keys.clone(),
        slots,
    )
    .with_ttl(place.view.ttl)
    .with_retention(place.view.retention);
    check_size(&layout)?;
    let why = if before.is_some() {
        "its keys or its store changed"
    } else {
        "it is new"
    };
    Ok(Evolution {
        layout,
        backfill: vec![why.to_owned()],
        retired: retire,
        revived: None,
    })
}

/// The same generation with more slots, and holes where features went.
fn grow(old: &ViewLayout, place: &Place<'_>) -> Result<(ViewLayout, Vec<String>)> {
    let view = place.view;
    let mut backfill = Vec::new();
    let mut slots = old.slots().to_vec();
    for slot in &mut slots {
        let stays = view
            .feature(slot.name.as_str())
            .is_some_and(|f| f.value_type == slot.value_type);
        slot.removed |= !stays;
    }
    for feature in &view.features {
        if !slots
            .iter()
            .any(|slot| !slot.removed && slot.name == feature.name)
        {
            slots.push(Slot::new(feature.name.clone(), feature.value_type));
            backfill.push(format!("feature `{}` is new", feature.name));
        }
    }
    let longer = match (old.ttl(), view.ttl) {
        (Some(old), Some(new)) => new > old,
        (Some(_), None) => true,
        (None, _) => false,
    };
    if longer {
        backfill.push("its ttl was raised".to_owned());
    }
    let layout = ViewLayout::new(
        place.project.clone(),
        view.name.clone(),
        old.generation(),
        place.join_keys.clone(),
        slots,
    )
    .with_ttl(view.ttl)
    .with_retention(view.retention);
    check_size(&layout)?;
    Ok((layout, backfill))
}

fn check_size(layout: &ViewLayout) -> Result<()> {
    if layout.slots().len() > MAX_SLOTS {
        return Err(Error::definition(format!(
            "feature view `{}` has {} features, removed ones included; at most {MAX_SLOTS} are possible",
            layout.view(),
            layout.slots().len()
        ))
        .help("split the view"));
    }
    Ok(())
}
