"""What commands and readers make of kills, damaged files, full disks and random bytes."""
