//! daytona
