"""The durable truth: verbs of the domain over one transaction, whichever database is beneath."""
