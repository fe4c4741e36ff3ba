// Package token makes join tokens of records: policy, plan, shards, documents, files, and the difference to a cluster. Given the
// same records and policy, it makes the same bytes.
package token
