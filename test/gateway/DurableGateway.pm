# What the tests of the HTTP gateway share: the program, started on a free port, and clients.
package DurableGateway;
use strict;
use warnings;
use Exporter 'import';
use HTTP::Tiny;
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(gateway_program gateway_start json sanitized);

our $base = '/runtime/webhooks/durabletask';
my ($program, $installed);

# The gateway, built with AddressSanitizer where the compiler has it, or else the installed one. The former ends with an error
# when it touches what is not its own or has lost memory, so each test that asserts an exit status of 0 asserts that as well.
# DURABLE_GATEWAY_PLAIN: the installed one in any case.
sub gateway_program
{
	return $program if defined $program;
	$installed = (-d "$ENV{DURABLE_TMP}/stage" ? "$ENV{DURABLE_TMP}/stage" : '')
	  . qx($ENV{PG_CONFIG} --bindir);
	chomp $installed;
	$installed .= '/durable-gateway';
	$program = $installed;
	return $program unless -x $program && !$ENV{DURABLE_GATEWAY_PLAIN};

	my $checked = "$ENV{DURABLE_TMP}/tmp/durable-gateway-$$";
	chomp(my $include = qx($ENV{PG_CONFIG} --includedir));
	my $version = qx($program --version) =~ /(\S+)$/ ? $1 : '';
	my $built = -d 'src/gateway' && system("gcc -g -O1 -std=gnu99 -D_GNU_SOURCE -DDURABLE_VERSION='\"$version\"' -I$include "
			. "-fsanitize=address,undefined -fno-sanitize-recover=all src/gateway/*.c -o $checked "
			. "-lmicrohttpd -lpq 2>$checked.log") == 0;
	if ($built)
	{
		$program = $checked;
	}
	elsif (-s "$checked.log")
	{
		diag 'not built with AddressSanitizer: ' . slurp_file("$checked.log");
	}
	return $program;
}

# Whether AddressSanitizer and its search for lost memory work in the program.
sub sanitized
{
	return qx(env ASAN_OPTIONS=help=1 $program --version 2>&1) =~ /AddressSanitizer.*detect_leaks/s;
}

# CPU seconds that the process has used and kilobytes of memory that it has.
sub usage
{
	my ($self) = @_;
	my @stat = split / /, slurp_file("/proc/$self->{pid}/stat") =~ s/.*\) //sr;
	my ($memory) = slurp_file("/proc/$self->{pid}/status") =~ /^VmRSS:\s+(\d+)/m;
	return (($stat[11] + $stat[12]) / POSIX::sysconf(POSIX::_SC_CLK_TCK()), $memory);
}

# Seconds for which a process was ready to run and had no CPU, 0 where the system does not count them.
sub cpu_wait
{
	my ($pid) = @_;
	open(my $file, '<', "/proc/$pid/schedstat") or return 0;
	return (split ' ', <$file> // '0 0')[1] / 1e9;
}

# Starts a gateway and waits for its ready line. Options: args => further arguments, listen, dbname; plain => the installed
# program rather than the one with AddressSanitizer.
sub gateway_start
{
	my ($node, %opts) = @_;
	my $self = bless {}, __PACKAGE__;
	my $name = "$ENV{DURABLE_TMP}/tmp/gateway-$$-" . int(rand(1e9));

	$self->{errors} = "$name.err";
	pipe(my $out, my $in) or die "pipe: $!";
	$self->{pid} = fork() // die "fork: $!";
	if ($self->{pid} == 0)
	{
		delete $ENV{PGAPPNAME};
		open(STDOUT, '>&', $in) or die;
		open(STDERR, '>', $self->{errors}) or die;
		exec($opts{plain} ? $installed : gateway_program(), '--listen', $opts{listen} // '127.0.0.1:0',
			'--dbname', $opts{dbname} // $node->connstr('postgres'), @{ $opts{args} // [] }) or die;
	}
	close($in);
	$self->{ready} = <$out> // '';
	$self->{out} = $out;
	($self->{url}) = $self->{ready} =~ m{ready on (http://[^\s,]+)};
	BAIL_OUT("the gateway does not start: " . slurp_file($self->{errors})) unless $self->{url};
	($self->{port}) = $self->{url} =~ m{:(\d+)$};
	$self->{http} = HTTP::Tiny->new(timeout => 60, max_redirect => 0);
	return $self;
}

# Ends it by SIGTERM; returns its exit status.
sub stop
{
	my ($self) = @_;
	return unless $self->{pid};
	kill('TERM', $self->{pid});
	waitpid(delete $self->{pid}, 0);
	my $status = $? & 127 ? "signal " . ($? & 127) : $? >> 8;
	diag(slurp_file($self->{errors})) if $status ne '0' || slurp_file($self->{errors}) =~ /Sanitizer|runtime error/;
	return $status;
}

sub DESTROY
{
	my ($self) = @_;
	return unless $self->{pid};
	local $?;
	kill('KILL', $self->{pid});
	waitpid($self->{pid}, 0);
}

sub alive
{
	my ($self) = @_;
	return kill(0, $self->{pid}) && waitpid($self->{pid}, 1) == 0;
}

# A request below the base path: method, path, body (JSON text or undef), headers.
sub call
{
	my ($self, $method, $path, $body, $headers) = @_;
	my %options = (headers => { $headers ? %$headers : () });
	if (defined $body)
	{
		$options{content} = $body;
		$options{headers}{'Content-Type'} //= 'application/json';
	}
	my $url = $path =~ /^http/ ? $path : $self->{url} . ($path =~ m{^/(healthz|metrics|runtime)} ? '' : $base) . $path;
	return $self->{http}->request($method, $url, \%options);
}

# Sends bytes as they are and returns all that comes back until the server closes or falls silent.
sub raw
{
	my ($self, $bytes, $silence) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}) or die "connect: $!";
	local $SIG{PIPE} = 'IGNORE';
	syswrite($socket, $bytes);
	return answer($socket, $silence);
}

sub answer
{
	my ($socket, $silence) = @_;
	my $answer = '';
	while (IO::Select->new($socket)->can_read($silence // 2))
	{
		sysread($socket, $answer, 65536, length $answer) or last;
	}
	return $answer;
}

# One whole answer that has a Content-Length, or what there is until the server closes or half a minute has gone.
sub answer_one
{
	my ($socket) = @_;
	my $answer = '';
	while ($answer !~ /^Content-Length: (\d+).*?\r\n\r\n(.*)/msi || length $2 < $1)
	{
		IO::Select->new($socket)->can_read(30) && sysread($socket, $answer, 65536, length $answer) or last;
	}
	return $answer;
}

sub json
{
	my ($response) = @_;
	return eval { JSON::PP->new->utf8->allow_nonref->decode($response->{content}) };
}

1;
