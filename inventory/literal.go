package inventory

// literalOrText is a value of an INI inventory.
func literalOrText(s string) any { return s }
