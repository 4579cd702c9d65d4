"""The API for programs: REST and GraphQL over the same use cases."""
