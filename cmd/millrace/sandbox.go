package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What is done in the file system once everything is open.
const (
	sandboxRead  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	sandboxWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_REG
	// A socket that was left behind is replaced by removing it.
	sandboxSocket = unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE
	// sandboxFile is what can be allowed for a file, as opposed to a folder.
	sandboxFile = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE
)

// sandboxAccess is every kind of access that a version of Landlock controls, by version from 1 on. Later ones add
// connecting to unix sockets, which is left alone: servers may be there.
var sandboxAccess = [...]uint64{
	1<<13 - 1, // everything up to making symbolic links
	1<<14 - 1, // and linking between folders
	1<<15 - 1, // and truncating
	1<<15 - 1,
	1<<16 - 1, // and commands to devices
}

// permission is what stays allowed below a path.
type permission struct {
	path   string
	access uint64
}

// sandboxPermissions is what a running proxy needs: the configuration is in config, the access log in accessLog, which may be
// empty, and the sockets of its listeners in sockets.
func sandboxPermissions(config, accessLog string, sockets []string) []permission {
	list := []permission{
		{filepath.Dir(config), sandboxRead},
		// What looking up a name reads.
		{"/etc/resolv.conf", sandboxRead},
		{"/etc/hosts", sandboxRead},
	}
	if accessLog != "" {
		list = append(list, permission{filepath.Dir(accessLog), sandboxWrite})
	}
	for _, s := range sockets {
		list = append(list, permission{filepath.Dir(s), sandboxSocket})
	}
	return list
}

// enterSandbox takes every access to the file system from the process, all threads of it, but for what is allowed. It
// cannot be undone. Paths that do not exist are not allowed later either.
func enterSandbox(allowed []permission, log *slog.Logger) error {
	version, _, errno := syscall.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return fmt.Errorf("server.sandbox needs Landlock, which this kernel does not have or has turned off (%w): set sandbox = false", errno)
	}
	// The zone is read with the first time that is printed.
	_, _ = time.Now().Zone()
	handled := sandboxAccess[min(int(version), len(sandboxAccess))-1]
	rules, _, errno := syscall.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&handled)), unsafe.Sizeof(handled), 0)
	if errno != 0 {
		return os.NewSyscallError("landlock_create_ruleset", errno)
	}
	defer unix.Close(int(rules))
	for _, p := range allowed {
		if err := p.add(int(rules)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("server.sandbox: %s: %w", p.path, err)
		}
	}
	// A thread restricts itself only, so each of them does.
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		if errno == syscall.ENOTSUP {
			return errors.New("server.sandbox: this millrace was built with cgo, and cannot reach all its threads")
		}
		return os.NewSyscallError("prctl", errno)
	}
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, rules, 0, 0); errno != 0 {
		return os.NewSyscallError("landlock_restrict_self", errno)
	}
	log.Info("the file system is out of reach now, but for what is needed", "landlock", int(version))
	return nil
}

func (p permission) add(rules int) error {
	fd, err := unix.Open(p.path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	access := p.access
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= sandboxFile
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	_, _, errno := syscall.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(rules), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
