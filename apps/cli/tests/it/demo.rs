//! Does the demo hold its claims, twice, and do the commands it prints work?

use crate::world::{World, shell};

#[test]
fn the_demo_proves_itself_twice_and_its_commands_can_be_typed_again() {
    let world = World::new();
    let first = world.larder(&["demo", "--format", "json"]).ok().json();
    let figures = &first["figures"];
    assert_eq!(figures["leaked_by_larder"], 0);
    assert!(
        figures["leaked_by_latest_join"].as_u64().unwrap() > 1_000_000,
        "{figures:#}"
    );
    assert_eq!(figures["cells_compared"], 50_000);
    assert_eq!(figures["cells_equal"], figures["cells_compared"]);

    let dir = world.path().join("larder-demo");
    let steps = first["steps"].as_array().unwrap();
    let commands: Vec<&str> = steps.iter().filter_map(|step| step["command"].as_str()).collect();
    assert!(commands.len() >= 9, "{commands:?}");
    for command in commands {
        shell(&dir, command).ok();
    }

    let second = world.larder(&["demo"]).ok().out;
    assert!(second.contains("going on with them"), "{second}");
    assert!(second.contains("50,000 of 50,000 cells equal"), "{second}");
    assert!(second.contains("Three edits to try"), "{second}");
}

#[test]
fn a_folder_of_somebody_else_is_left_alone() {
    let world = World::new();
    std::fs::create_dir(world.path().join("mine")).unwrap();
    std::fs::write(world.path().join("mine/file"), "x").unwrap();
    world.larder(&["demo", "--dir", "mine"]).code(1);
    assert_eq!(std::fs::read_dir(world.path().join("mine")).unwrap().count(), 1);
}
