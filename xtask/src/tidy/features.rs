//! Do folder, crate and cargo feature of each backend bear the same name?

use super::Finding;
use super::model::Member;

/// Shared by stores, so no backend and no feature.
const NO_BACKEND: [&str; 2] = ["stores/remote", "stores/warehouse-sql"];

/// Each `stores/<x>` is the facade's feature `x`, which turns on `larder-x`, and `full` is all of them.
pub(crate) fn facade(members: &[Member]) -> Vec<Finding> {
    let Some(facade) = members.iter().find(|member| member.folder == "core/larder") else {
        return vec![Finding::new("core/larder", "there is no such crate")];
    };
    let mut findings = Vec::new();
    let full = facade.features.get("full").map(Vec::as_slice).unwrap_or_default();
    for store in members
        .iter()
        .filter(|member| !NO_BACKEND.contains(&member.folder.as_str()))
    {
        let Some(feature) = store.folder.strip_prefix("stores/") else {
            continue;
        };
        let switch = format!("dep:{}", store.name);
        if !facade
            .features
            .get(feature)
            .is_some_and(|turns_on| turns_on.contains(&switch))
        {
            findings.push(Finding::new(
                &facade.folder,
                format!("feature \"{feature}\" must turn on {switch}"),
            ));
        }
        if !full.iter().any(|turned_on| turned_on == feature) {
            findings.push(Finding::new(
                &facade.folder,
                format!("feature \"full\" must contain \"{feature}\""),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::model::sample;
    use super::*;

    fn with(features: &[(&str, &[&str])]) -> Vec<Finding> {
        let mut facade = sample("core/larder", "larder", &[]);
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        facade.features = features
            .iter()
            .map(|(name, list)| ((*name).to_owned(), words(list)))
            .collect();
        let helper = sample("stores/warehouse-sql", "larder-warehouse-sql", &[]);
        super::facade(&[facade, sample("stores/redis", "larder-redis", &[]), helper])
    }

    #[test]
    fn a_backend_needs_its_feature_and_a_place_in_full() {
        assert_eq!(
            with(&[("redis", &["dep:larder-redis"]), ("full", &["redis"])]),
            []
        );
        assert_eq!(with(&[("redis", &["dep:larder-redis"]), ("full", &[])]).len(), 1);
        assert_eq!(with(&[("redis", &["offline"]), ("full", &["redis"])]).len(), 1);
        assert_eq!(with(&[("cache", &["dep:larder-redis"])]).len(), 2);
    }

    #[test]
    fn a_missing_facade_is_found() {
        assert_eq!(facade(&[]).len(), 1);
    }
}
