//! Exists so that `links = "larder_base"` is legal: cargo then refuses two versions of this crate in one build.
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
