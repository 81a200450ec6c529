//go:build !linux

package main

import "errors"

// disk is for Linux only.
type disk struct {
	dir   string
	admin func() string
}

var errNoDisk = errors.New("a file system of limited size is only mounted on Linux")

func (d *disk) mount(string) error { return errNoDisk }
func (d *disk) Fill() error        { return errNoDisk }
func (d *disk) Free() error        { return errNoDisk }
func (d *disk) unmount() error     { return errNoDisk }
