//! The `keyward` program.

/// Records, facts and Cedar's requests are many small allocations; see
/// `docs/decisions/0007-allocator.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    keyward::cli::main()
}
