"""Writers of small files in the formats that are read, for several tests."""
