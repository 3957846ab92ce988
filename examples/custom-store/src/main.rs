//! The command line with a third party's store in it: three lines.

use larder_example_custom_store as _;

fn main() -> std::process::ExitCode {
    larder_cli::main()
}
