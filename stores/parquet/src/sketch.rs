//! What does a join read and need? Decided once, before any data of a source is read, whatever way the join then goes.

use larder_core::pit::{EventBounds, ViewRule};
use larder_core::{EntityRows, Error, HistoricalRead, Result, ScanFeature, ViewJoin, ViewScan};

use crate::budget::{self, Budget, Load};
use crate::entity::{self, Bounds};
use crate::plan::{Context, Plan};
use crate::prune::Filter;
use crate::root::Root;
use crate::store::supported;
use crate::work;

/// A join as far as it is known before any data of a source is read.
pub(crate) struct Sketch {
    pub(crate) request: HistoricalRead,
    /// Entity rows.
    pub(crate) rows: u64,
    pub(crate) scans: Vec<SharedScan>,
}

/// Views that one scan serves: same source, same keys on both sides.
pub(crate) struct SharedScan {
    /// With the features of all views, so that all are checked.
    pub(crate) scan: ViewScan,
    pub(crate) spine_keys: Vec<usize>,
    pub(crate) rules: Vec<SharedRule>,
    /// The event times that matter to each rule.
    pub(crate) windows: Vec<Option<EventBounds>>,
    /// Those that matter to any, both ends inclusive.
    pub(crate) window: Option<(i64, i64)>,
    pub(crate) filter: Filter,
    pub(crate) plan: Plan,
    pub(crate) load: Load,
}

/// Views with the same winners.
#[derive(Clone)]
pub(crate) struct SharedRule {
    pub(crate) rule: ViewRule,
    /// The features of its views, each column and type once.
    pub(crate) scan: ViewScan,
    pub(crate) members: Vec<Member>,
}

/// A view among those with the same winners.
#[derive(Clone)]
pub(crate) struct Member {
    /// Index in the request.
    pub(crate) view: usize,
    /// For each feature of the view, its place among those of the shared rule.
    pub(crate) features: Vec<usize>,
}

impl Sketch {
    /// Finds out what a join would read and need. Many small sources are looked at side by side.
    pub(crate) fn new(root: &Root, request: HistoricalRead, context: &Context) -> Result<Self> {
        let drafts = drafts(&request)?;
        let mut sets: Vec<Vec<usize>> = Vec::new();
        for draft in &drafts {
            if !sets.contains(&draft.spine_keys) {
                sets.push(draft.spine_keys.clone());
            }
        }
        let bounds = entity::bounds(&request.rows, &sets, &context.cancel)?;
        let rows = entity::count(&request.rows);
        let (threads, context) = context.abreast(drafts.len());
        let states = (0..threads).map(|_| Vec::new()).collect();
        let planned = work::each(states, drafts.len(), &context.cancel, |planned, at| {
            let own = sets.iter().position(|set| *set == drafts[at].spine_keys);
            let own = own.ok_or_else(|| Error::internal("keys without bounds"))?;
            planned.push((at, drafts[at].plan(root, rows, &bounds[own], &context)?));
            Ok(())
        })?;
        let mut planned: Vec<(usize, SharedScan)> = planned.into_iter().flatten().collect();
        planned.sort_by_key(|(at, _)| *at);
        Ok(Self {
            request,
            rows,
            scans: planned.into_iter().map(|(_, scan)| scan).collect(),
        })
    }

    /// Bytes that the join needs when nothing is spilled.
    pub(crate) fn memory(&self, threads: usize) -> u64 {
        budget::in_memory(&self.loads(), threads as u64)
    }

    /// Whether the join fits in memory under a limit.
    pub(crate) fn fits(&self, budget: &Budget) -> bool {
        budget.fits(&self.loads())
    }

    fn loads(&self) -> Vec<Load> {
        self.scans.iter().map(|scan| scan.load).collect()
    }
}

/// A scan before its files are known.
struct Draft {
    scan: ViewScan,
    spine_keys: Vec<usize>,
    rules: Vec<SharedRule>,
}

impl Draft {
    fn plan(&self, root: &Root, rows: u64, bounds: &Bounds, context: &Context) -> Result<SharedScan> {
        let scan = self.scan.clone();
        let window = |rule: &SharedRule| bounds.times.and_then(|times| rule.rule.bounds_between(times));
        let windows: Vec<Option<EventBounds>> = self.rules.iter().map(window).collect();
        let window = windows
            .iter()
            .flatten()
            .map(|bounds| (bounds.min, bounds.max))
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let filter = Filter::new(&scan, window)?.with_keys(&scan, &bounds.keys);
        let plan = Plan::new(root, &scan, &filter, context)?;
        tracing::debug!(
            source = scan.source.name.as_str(),
            path = plan.shown,
            files = plan.stats.files,
            row_groups = plan.groups.len(),
            "planned a scan"
        );
        let load = Load {
            rows,
            key_bytes: bounds.bytes.div_ceil(rows.max(1)),
            rules: self.rules.len() as u64,
            source_rows: plan.rows(),
            width: self
                .rules
                .iter()
                .map(|rule| budget::width(&plan, &rule.scan))
                .sum(),
            columns: scan.features.len() as u64,
        };
        Ok(SharedScan {
            scan,
            spine_keys: self.spine_keys.clone(),
            rules: self.rules.clone(),
            windows,
            window,
            filter,
            plan,
            load,
        })
    }
}

/// The scans that serve the views of a request.
fn drafts(request: &HistoricalRead) -> Result<Vec<Draft>> {
    let columns = match &request.rows {
        EntityRows::Batches { keys, .. } => Some(keys.len()),
        _ => None,
    };
    let mut drafts = Vec::new();
    for (at, view) in request.views.iter().enumerate() {
        supported(&view.scan)?;
        let known = |key: &usize| columns.is_none_or(|columns| *key < columns);
        if view.spine_keys.len() != view.scan.keys.len() || !view.spine_keys.iter().all(known) {
            return Err(
                Error::internal("a view's keys do not fit the entity rows").with("view", &view.scan.view)
            );
        }
        join_draft(&mut drafts, at, view);
    }
    Ok(drafts)
}

/// Puts a view to the scan and the rule that it shares with others, or starts new ones.
fn join_draft(drafts: &mut Vec<Draft>, at: usize, view: &ViewJoin) {
    let scan = &view.scan;
    let found = drafts.iter().position(|draft| {
        let other = &draft.scan;
        other.source == scan.source && other.keys == scan.keys && draft.spine_keys == view.spine_keys
    });
    let draft = found.unwrap_or_else(|| {
        let empty = ViewScan {
            features: Vec::new(),
            ..scan.clone()
        };
        drafts.push(Draft {
            scan: empty,
            spine_keys: view.spine_keys.clone(),
            rules: Vec::new(),
        });
        drafts.len() - 1
    });
    let Draft { scan: all, rules, .. } = &mut drafts[draft];
    share_features(&mut all.features, &scan.features);
    // What is pruned must not show in the counts, or they would depend on how rows are spread over files.
    let rule = view.rule().with_within_bounds(true);
    let place = rules
        .iter()
        .position(|known| known.rule == rule)
        .unwrap_or_else(|| {
            let empty = ViewScan {
                features: Vec::new(),
                ..scan.clone()
            };
            rules.push(SharedRule {
                rule,
                scan: empty,
                members: Vec::new(),
            });
            rules.len() - 1
        });
    let shared = &mut rules[place];
    let features = share_features(&mut shared.scan.features, &scan.features);
    shared.members.push(Member { view: at, features });
}

/// Adds features that are not there yet, by column and type; returns the places of all.
fn share_features(all: &mut Vec<ScanFeature>, wanted: &[ScanFeature]) -> Vec<usize> {
    let place = |feature: &ScanFeature| {
        let known = all
            .iter()
            .position(|known| known.column == feature.column && known.value_type == feature.value_type);
        known.unwrap_or_else(|| {
            all.push(feature.clone());
            all.len() - 1
        })
    };
    wanted.iter().map(place).collect()
}
