//! Is every backend of an enabled feature linked, listed and understood? A crate that is compiled and
//! never named is dropped by the linker, and with it, silently, its `type:`.

use larder::{Result, Role};

/// What each feature of the facade must bring.
fn expected() -> Vec<(Role, &'static str)> {
    let mut list = vec![(Role::Registry, "memory"), (Role::Online, "memory")];
    if cfg!(feature = "offline") {
        list.push((Role::Offline, "memory"));
    }
    if cfg!(feature = "object") {
        list.extend([(Role::Registry, "file"), (Role::Registry, "object")]);
    }
    if cfg!(feature = "local") {
        list.extend([(Role::Online, "local"), (Role::Provider, "local")]);
    }
    if cfg!(feature = "parquet") {
        list.push((Role::Offline, "parquet"));
    }
    if cfg!(feature = "dynamodb") {
        list.push((Role::Online, "dynamodb"));
    }
    if cfg!(feature = "postgres") {
        list.push((Role::Online, "postgres"));
    }
    if cfg!(feature = "redis") {
        list.push((Role::Online, "redis"));
    }
    list.sort_unstable();
    list
}

#[test]
fn features_and_plugins_are_the_same_list() -> Result<()> {
    let listed: Vec<_> = larder::plugins()?
        .iter()
        .map(|plugin| (plugin.role, plugin.name))
        .collect();
    assert_eq!(listed, expected());
    Ok(())
}

/// The example of each descriptor, put into a project file, is parsed by the type it names.
#[test]
fn every_example_is_understood() -> Result<()> {
    for plugin in larder::plugins()?.iter() {
        let folder = tempfile::tempdir().expect("a folder");
        let yaml = format!("project: shop\ndefinitions: features/\n{}\n", plugin.example);
        std::fs::write(folder.path().join("larder.yaml"), &yaml).expect("a file");
        let project = larder::project(folder.path(), None)?;
        let name = larder::StoreName::default_store();
        let parsed = match plugin.role {
            Role::Registry => project.registry_config().map(drop),
            Role::Online => project.online_config(&name).map(drop),
            #[cfg(feature = "offline")]
            Role::Offline => project.offline_config(&name).map(drop),
            _ => project
                .registry_config()
                .and(project.online_config(&name))
                .map(drop),
        };
        assert!(
            parsed.is_ok(),
            "{} `{}`: {}\n{yaml}",
            plugin.role,
            plugin.name,
            parsed.unwrap_err()
        );
    }
    Ok(())
}

/// What is known and not in this build says which feature brings it; what is to come says that.
#[test]
fn what_is_missing_says_what_would_bring_it() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    for (role, name, feature) in larder::plugin::known::KNOWN {
        if larder::plugins()?.get(*role, name).is_some() || *role == Role::Provider {
            continue;
        }
        let yaml = format!("project: shop\ndefinitions: features/\n{role}: {{ type: {name} }}\n");
        std::fs::write(folder.path().join("larder.yaml"), yaml).expect("a file");
        let project = larder::project(folder.path(), None)?;
        let store = larder::StoreName::default_store();
        let refused = match role {
            Role::Registry => project.registry_config().map(drop).unwrap_err(),
            Role::Online => project.online_config(&store).map(drop).unwrap_err(),
            #[cfg(feature = "offline")]
            Role::Offline => project.offline_config(&store).map(drop).unwrap_err(),
            _ => continue,
        };
        let text = refused.to_string();
        let hint = feature.filter(|feature| !feature.is_empty()).unwrap_or("part");
        assert!(
            text.contains(name) && text.contains(hint),
            "{role} {name}: {text}"
        );
    }
    Ok(())
}
