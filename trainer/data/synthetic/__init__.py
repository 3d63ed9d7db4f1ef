"""Streets drawn by a program: the same on every machine, and nothing to download."""
